"""One Prefect server for the marked tests of this folder; a work pool of its own for each test."""

import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from prefect.client.orchestration import PrefectClient
from pydantic import SecretStr

from flows.deployments import Deployment, Pool, register
from orchestrator.child_process import ChildProcess
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.settings import Settings
from tests.flows import scripted
from tests.flows.prefect_server import PrefectServer, free_port

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def prefect_server(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrefectServer]:
    """A running server on a database of its own. Whoever kills it starts it again."""
    folder = tmp_path_factory.mktemp("prefect")
    postgres.create_database("prefect")
    settings = Settings(
        home=folder,
        prefect_port=free_port(),
        prefect_database_url=SecretStr(postgres.url("prefect")),
    )
    server = PrefectServer(settings, folder)
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture
async def prefect(prefect_server: PrefectServer) -> AsyncIterator[PrefectClient]:
    """A client of the server."""
    async with prefect_server.client() as client:
        yield client


@pytest_asyncio.fixture
async def pool(prefect: PrefectClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """A work pool that only this test uses. The scripted deployments now go there."""
    monkeypatch.setitem(sys.modules, "flows.scripted", scripted)
    name = f"pool-{next(_numbers)}"
    await register(
        prefect,
        pools=[Pool(name, limit=100, description="a test's")],
        queues=["enterprise", "free", "default"],
        deployments=[
            Deployment(flow, f"flows.scripted.{flow}", name)
            for flow in ("quick", "waiting", "stubborn", "broken")
        ],
    )
    return name


class Workers:
    """Starts workers on the test's pool."""

    def __init__(self, server: PrefectServer, pool: str) -> None:
        self._server = server
        self._pool = pool
        self.started: list[ChildProcess] = []

    def start(self, name: str = "worker", *, limit: int = 100) -> ChildProcess:
        """A worker of that name, unique to this test's pool."""
        worker = self._server.worker(self._pool, name=f"{self._pool}-{name}", limit=limit)
        self.started.append(worker)
        return worker


@pytest.fixture
def workers(prefect_server: PrefectServer, pool: str) -> Iterator[Workers]:
    """Workers that end with the test."""
    workers = Workers(prefect_server, pool)
    yield workers
    for worker in workers.started:
        worker.kill()


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    """Where the scripted flows write what became of them: `<flow run id> <event>` a line."""
    return tmp_path / "diary"
