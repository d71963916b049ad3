"""A real vLLM server with the smoke model, one for the test run, for tests marked `engine`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import settings
from workers.inference.client import Target
from workers.inference.server import EngineServer, EngineSpec

MODEL = "yard-smoke"
API_KEY = "a-key-for-tests"
START_SECONDS_MAX = 300.0
MAX_NUM_SEQS = 32


@pytest.fixture(scope="session")
def engine_spec(smoke_model: Path, tmp_path_factory: pytest.TempPathFactory) -> EngineSpec:
    """How the smoke model is served in tests."""
    here = settings.Settings()
    return EngineSpec(
        id="eng_test",
        model=MODEL,
        source=str(smoke_model),
        python=here.gpu_interpreter(),
        host="127.0.0.1",
        api_key=API_KEY,
        context_length=1024,
        max_num_seqs=MAX_NUM_SEQS,
        flags=[],
        cuda=here.has_cuda(),
        log=tmp_path_factory.mktemp("engine") / "engine.log",
        environment=settings.inherited_environment(),
    )


@pytest.fixture(scope="session")
def engine_server(engine_spec: EngineSpec) -> Iterator[EngineServer]:
    """The server, ready. It belongs to no event loop."""
    server = EngineServer(engine_spec)
    asyncio.run(server.start())
    try:
        asyncio.run(server.wait_ready(START_SECONDS_MAX))
        yield server
    finally:
        asyncio.run(server.stop())


@pytest.fixture
def engine_target(engine_server: EngineServer) -> Target:
    """The server as orders name it."""
    return Target("eng_test", engine_server.url, API_KEY, MAX_NUM_SEQS)
