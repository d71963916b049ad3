"""What benchmarks measure: a whole yard, or its API and Postgres alone."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from orchestrator.child_process import ChildProcess
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.settings import PROJECT, Settings, inherited_environment
from tests.flows.prefect_server import free_port
from tests.smoke_fixture import made_smoke_model
from tests.yard_process import YardProcess, running_yard

API_SECONDS_MAX = 60.0


@contextmanager
def whole_yard(**variables: str) -> Iterator[YardProcess]:
    """`yard up` in a home that goes with the block."""
    with running_yard(variables, model=made_smoke_model()) as yard:
        yield yard


@dataclass(frozen=True)
class RunningApi:
    """An API that answers, and the folder of its yard."""

    home: Path
    url: str
    pid: int
    keys: dict[str, str]  # by tier, and the operator's


@contextmanager
def api_alone() -> Iterator[RunningApi]:
    """`python -m api` on a durable Postgres, with nobody to run the batches that are made."""
    with apis_alone(1) as (api,):
        yield api


@contextmanager
def apis_alone(count: int) -> Iterator[list[RunningApi]]:
    """As many processes of the API on one durable Postgres, each at a port of its own."""
    home = Path(tempfile.mkdtemp(prefix="yard-bench-"))
    home.chmod(0o711)  # as `yard up` has it: Postgres may run as another user
    try:
        with ExitStack() as stack:
            postgres = stack.enter_context(EmbeddedPostgres(home / "postgres", durable=True))
            postgres.create_database("yard")
            environment = inherited_environment() | {
                "YARD_HOME": str(home),
                "YARD_DATABASE_URL": postgres.url("yard"),
            }
            first_start = [sys.executable, "-m", "orchestrator.embedded.first_start"]
            subprocess.run(first_start, env=environment, cwd=PROJECT, check=True, capture_output=True)
            yield [stack.enter_context(_api(home, environment)) for _ in range(count)]
    finally:
        shutil.rmtree(home)


@contextmanager
def _api(home: Path, environment: Mapping[str, str]) -> Iterator[RunningApi]:
    settings = Settings(home=home, api_port=free_port())
    argv = [sys.executable, "-m", "api"]
    environment = dict(environment) | {"YARD_API_PORT": str(settings.api_port)}
    log = home / f"api-{settings.api_port}.log"
    child = ChildProcess.spawn(argv, env=environment, log=log, cwd=PROJECT)
    try:
        _wait_alive(child, settings.api_url())
        keys = json.loads(settings.keys_file().read_text())
        yield RunningApi(home, settings.api_url(), child.pid, keys)
    finally:
        child.terminate(10.0)


def new_customer(api_url: str, operator_key: str, *, name: str, tier: str) -> str:
    """A key of a new organization, made as its operator would."""
    headers = {"Authorization": f"Bearer {operator_key}"}
    with httpx.Client(base_url=f"{api_url}/v1", headers=headers, trust_env=False) as operator:
        made = operator.post("/organizations", json={"name": name, "tier": tier}).raise_for_status()
        path = f"/organizations/{made.json()['id']}/api_keys"
        key: str = operator.post(path, json={"name": name}).raise_for_status().json()["key"]
        return key


def _wait_alive(child: ChildProcess, url: str) -> None:
    deadline = time.monotonic() + API_SECONDS_MAX
    while True:
        assert child.poll() is None, child.tail()
        assert time.monotonic() < deadline, child.tail()
        try:
            httpx.get(f"{url}/health/live", trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.1)
