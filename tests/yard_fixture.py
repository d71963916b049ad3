"""One real yard for the whole test run, for tests marked `engine` and `prefect`: with the smoke model on
vLLM, a remote engine that a test can script, and a model that no engine can load."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.models import registry
from tests.fakes import ScriptedEngine
from tests.yard_process import YardProcess, in_background, running_yard

REMOTE, BROKEN = "remote", "broken"

MODELS = """
[models."{remote}"]
url = "{url}"
context_length = 4096
endpoints = ["/v1/chat/completions"]
input_price = 1
cached_input_price = 0.5
output_price = 3

[models."{broken}"]
source = "{empty}"
context_length = 512
endpoints = ["/v1/chat/completions"]
input_price = 1
cached_input_price = 1
output_price = 1
"""


@pytest.fixture(scope="session")
def remote_engine() -> ScriptedEngine:
    """The engine behind the model REMOTE."""
    return ScriptedEngine()


@pytest.fixture(scope="session")
def models_file(remote_engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The models that ship with the yard, and two of the tests' own."""
    path = tmp_path_factory.mktemp("models") / "models.toml"
    empty = path.with_name("nobody-made-this")
    empty.mkdir()
    with in_background(remote_engine) as url:
        ours = MODELS.format(remote=REMOTE, broken=BROKEN, url=url, empty=empty)
        path.write_text(registry.SHIPPED.read_text() + ours)
        yield path


@pytest.fixture(scope="session")
def yard(smoke_model: Path, models_file: Path) -> Iterator[YardProcess]:
    """The yard. Two GPU slots, so that the broken model does not send the other one's engine away."""
    variables = {
        "YARD_MODELS_FILE": str(models_file),
        "YARD_GPUS": "2",
        "YARD_WEBHOOK_PRIVATE_ADDRESSES": "true",
    }
    with running_yard(variables, model=smoke_model) as running:
        yield running
