"""A whole yard as a person starts it, `yard up`, and the processes that it consists of."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx

from orchestrator import tables as tables  # every table, so that any may be asked
from orchestrator.database.session import Database
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.models import smoke
from orchestrator.settings import PROJECT, inherited_environment
from tests.fakes import ScriptedEngine
from tests.flows.prefect_server import free_port

T = TypeVar("T")

READY_SECONDS_MAX = 300.0
STOP_SECONDS_MAX = 120.0
GONE_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.1
LOG_CHARACTERS = 1500

# What tells a part's own process from all others below `yard up`.
PARTS = {
    "postgres": "/postgres -D ",
    "prefect": " -m prefect server start",
    "api": " -m api$",
    "dispatcher": " -m flows.dispatcher$",
    "worker-cpu": " -m flows.worker --pool cpu ",
    "worker-gpu": " -m flows.worker --pool gpu ",
    "trainer": r" -m workers\.training\.trainer ",
    "engine": r" -m vllm\.entrypoints\.openai\.api_server ",
    "engine-core": "^VLLM::EngineCore",
}


def until(ask: Callable[[], T], *, seconds: float, what: str, tell: Callable[[], str] = str) -> T:
    """The first true answer of `ask`. Fails with `what` was awaited, and what `tell` knows of it."""
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}\n{tell()}"
        time.sleep(LOOK_SECONDS)
    return answer


@dataclass
class YardProcess:
    """A yard in a home of its own, on ports of its own. It may be killed and started again."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)  # further settings
    api_port: int = field(default_factory=free_port)
    prefect_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """`yard up`, and wait until a batch sent now would run. No lifeline of ours stands behind it:
        what it leaves behind when it is killed shall be seen."""
        log: IO[bytes]
        with (self.home / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", "up"],
                env=inherited_environment() | dict(self.variables) | self._own_variables(),
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Until /health/ready says yes."""
        until(self._is_ready, seconds=READY_SECONDS_MAX, what="a yard that is ready", tell=self.logs)

    def stop(self) -> None:
        """SIGTERM, and look that nothing is left."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to `yard up` alone, and look that nothing is left all the same."""
        self._end(signal.SIGKILL)

    def pids(self, part: str) -> list[int]:
        """The processes of one of PARTS, without those that they have started."""
        assert self.process is not None
        pattern = re.compile(PARTS[part])
        found = {pid: command_line(pid) for pid in descendants(self.process.pid)}
        return [pid for pid, line in found.items() if "lifeline.py" not in line and pattern.search(line)]

    def kill_part(self, part: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send the signal to one part, which is running."""
        (pid,) = self.pids(part)
        os.kill(pid, number)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @cached_property
    def keys(self) -> dict[str, str]:
        """A key for each tier, by the tier's name."""
        keys: dict[str, str] = json.loads((self.home / "demo_keys.json").read_text())
        return keys

    @cached_property
    def database(self) -> Database:
        """The yard's own database."""
        return Database(EmbeddedPostgres(self.home / "postgres", durable=True).url("yard"))

    def prefect(self, method: str, path: str, **json_body: Any) -> Any:
        """One call of Prefect's API."""
        url = f"http://127.0.0.1:{self.prefect_port}/api{path}"
        answer = httpx.request(method, url, json=json_body or None, timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def logs(self) -> str:
        """The end of every part's log."""
        found = [self.home / "up.log", *sorted((self.home / "logs").rglob("*.log"))]
        return "\n".join(
            f"== {log.name}\n{log.read_text(errors='replace')[-LOG_CHARACTERS:]}"
            for log in found
            if log.exists()
        )

    def _own_variables(self) -> dict[str, str]:
        return {
            "YARD_HOME": str(self.home),
            "YARD_API_PORT": str(self.api_port),
            "YARD_PREFECT_PORT": str(self.prefect_port),
        }

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.logs()
        try:
            url = f"{self.api_url}/health/ready"
            return httpx.get(url, timeout=10, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        known = {pid: _started_at(pid) for pid in descendants(self.process.pid)}
        self.process.send_signal(number)
        self.process.wait(STOP_SECONDS_MAX)
        if "database" in self.__dict__:
            self.database.close()

        def nothing_is_left() -> bool:
            alive = [
                pid for pid, started_at in known.items() if started_at and _started_at(pid) == started_at
            ]
            return not alive and not self.strangers()

        until(
            nothing_is_left,
            seconds=GONE_SECONDS_MAX,
            what="the end of every process of the yard",
            tell=lambda: f"{self.strangers()} {known}",
        )

    def strangers(self) -> list[str]:
        """Processes that name this home in their command line or their environment."""
        mark = os.fsencode(self.home)
        found = []
        for pid in _every_pid():
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                environment = b""
            line = command_line(pid)
            if mark in environment or os.fsdecode(mark) in line:
                found.append(f"{pid} {line}")
        return found


@contextmanager
def running_yard(variables: Mapping[str, str], *, model: Path | None = None) -> Iterator[YardProcess]:
    """A yard that is ready, and ends with the block; nothing of it is left. `model` is a smoke model to
    start with, which saves the minute of making one."""
    home = Path(tempfile.mkdtemp(prefix="yard-test-"))
    if model is not None:
        shutil.copytree(model, smoke.folder(home))
    yard = YardProcess(home, variables)
    try:
        yard.start()
        yield yard
        yard.stop()
    finally:
        if yard.process is not None and yard.process.poll() is None:
            yard.kill()  # which ends all the others
        shutil.rmtree(home)


@contextmanager
def in_background(engine: ScriptedEngine) -> Iterator[str]:
    """A scripted engine beside a synchronous test; gives its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="scripted-engine")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(engine.start(), loop).result()
        assert engine.server is not None
        yield f"http://127.0.0.1:{engine.server.port}"
        asyncio.run_coroutine_threadsafe(engine.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _every_pid() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(ancestor: int) -> list[int]:
    """Every process that `ancestor` has started, or one that it has started, and so on."""
    children: dict[int, list[int]] = {}
    for pid in _every_pid():
        if (fields := _stat(pid)) is not None:
            children.setdefault(int(fields[1]), []).append(pid)
    found = [ancestor]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found[1:]


def _started_at(pid: int) -> str | None:
    """When it started, in the kernel's ticks: with the pid its name for ever. None for the dead."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else fields[19]


def _stat(pid: int) -> list[str] | None:
    """What /proc says of a process from its state on: state, parent's pid, …"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None


def command_line(pid: int) -> str:
    """A process's command line, its words apart by spaces; empty for the dead."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
    except OSError:
        return ""
