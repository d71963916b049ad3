"""A real Prefect server on a real Postgres, and workers beside it, that a test can kill."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

from orchestrator.child_process import ChildProcess
from orchestrator.embedded.prefect_environment import prefect_environment
from orchestrator.settings import PROJECT, Settings, inherited_environment

ANSWER_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.1


@dataclass
class PrefectServer:
    """`settings` say where it is. Starting it again after a kill finds everything as it was."""

    settings: Settings
    folder: Path
    process: ChildProcess | None = None

    @property
    def env(self) -> Mapping[str, str]:
        """What its programs and clients are given."""
        return inherited_environment() | prefect_environment(self.settings)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = ChildProcess.spawn(
            [sys.executable, "-m", "prefect", "server", "start"],
            env=self.env,
            log=self.folder / "server.log",
        )
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while not self._answers():
            assert time.monotonic() < deadline, self.process.tail()
            assert self.process.poll() is None, self.process.tail()
            time.sleep(LOOK_SECONDS)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()

    def client(self) -> PrefectClient:
        """A client of this server, whatever this process's own settings are."""
        return PrefectClient(self.settings.prefect_api_url())

    def worker(self, pool: str, *, name: str, limit: int = 100) -> ChildProcess:
        """A yard worker that has the scripted flows."""
        arguments = ["--pool", pool, "--name", name, "--limit", str(limit)]
        return ChildProcess.spawn(
            [sys.executable, "-m", "tests.flows.scripted_worker", *arguments],
            env=self.env,
            log=self.folder / f"{name}.log",
            cwd=PROJECT,
            grace_seconds=0.0,
        )

    def run(self, *argv: str) -> None:
        """Run a program that ends by itself, and see that it ends well."""
        done = subprocess.run(argv, env=self.env, cwd=PROJECT, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.settings.prefect_api_url()}/health", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def drain(worker: ChildProcess) -> int:
    """SIGTERM, and the exit code."""
    os.kill(worker.pid, signal.SIGTERM)
    return worker.wait(timeout_seconds=40)


async def until_state(client: PrefectClient, run_id: str, *names: str, seconds: float = 30.0) -> FlowRun:
    """The run, once it is in a state of one of these names."""
    deadline = time.monotonic() + seconds
    while True:
        flow_run = await client.read_flow_run(run_id)
        if flow_run.state_name in names:
            return flow_run
        assert time.monotonic() < deadline, f"{flow_run.state!r} is none of {names}"
        await asyncio.sleep(LOOK_SECONDS)


async def until_written(diary: Path, text: str, *, seconds: float = 30.0) -> None:
    """Wait until the diary has this text."""
    deadline = time.monotonic() + seconds
    while not (diary.exists() and text in diary.read_text()):
        assert time.monotonic() < deadline, f"{text!r} is not in the diary"
        await asyncio.sleep(LOOK_SECONDS / 5)
