"""What benchmarks measure against: a whole yard, or its API and Postgres alone, in a folder that goes."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx
from openai import OpenAI
from rich.console import Console

from infra.demo import yard as demo
from orchestrator.child_process import ChildProcess
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.models import smoke
from orchestrator.settings import PROJECT, Settings, inherited_environment
from tests.network import free_port

API_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Running:
    """A yard, or a part of one, that answers."""

    url: str
    keys: dict[str, str]  # by tier, and the operator's

    def client(self, tier: str = "enterprise") -> OpenAI:
        """The official client, as the first customer of a tier."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=self.keys[tier], max_retries=0)

    @cached_property
    def operator(self) -> httpx.Client:
        """The operator's own requests."""
        headers = {"Authorization": f"Bearer {self.keys['operator']}"}
        return httpx.Client(base_url=f"{self.url}/v1", headers=headers, trust_env=False)

    def new_customer(self, name: str, tier: str) -> str:
        """A key of a new organization."""
        made = self.operator.post("/organizations", json={"name": name, "tier": tier}).raise_for_status()
        keys = f"/organizations/{made.json()['id']}/api_keys"
        key: str = self.operator.post(keys, json={"name": name}).raise_for_status().json()["key"]
        return key


@contextmanager
def whole_yard(folder: Path, **variables: str) -> Iterator[Running]:
    """`yard up` on a home in `folder`, told more by `variables`; how it starts is seen on stderr."""
    settings = Settings(home=folder / "home")
    made, ours = smoke.folder(PROJECT / ".yard"), smoke.folder(settings.absolute_home())
    if made.exists() and not ours.exists():
        shutil.copytree(made, ours)
    with demo.running(settings, store=variables, console=Console(stderr=True)) as yard:
        yield Running(yard.api_url, json.loads(settings.keys_file().read_text()))


@contextmanager
def api_alone(folder: Path) -> Iterator[Running]:
    """The API on a durable Postgres: batches that are made stay queued."""
    home, port = folder / "api_home", free_port()
    settings = Settings(home=home, api_port=port)
    home.mkdir(mode=0o711)
    with EmbeddedPostgres(home / "postgres", durable=True) as postgres:
        postgres.create_database("yard")
        environment = {
            **inherited_environment(),
            "YARD_HOME": str(home),
            "YARD_DATABASE_URL": postgres.url("yard"),
            "YARD_API_PORT": str(port),
        }
        subprocess.run(
            [sys.executable, "-m", "orchestrator.embedded.first_start"],
            env=environment,
            cwd=PROJECT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        child = ChildProcess.spawn(
            [sys.executable, "-m", "api"], env=environment, log=home / "api.log", cwd=PROJECT
        )
        try:
            _wait_alive(child, settings.api_url())
            yield Running(settings.api_url(), json.loads(settings.keys_file().read_text()))
        finally:
            child.terminate(10.0)


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
