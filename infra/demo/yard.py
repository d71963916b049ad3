"""A yard of the demo's own: `yard up` as a child, gone when the block ends."""

import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from orchestrator.child_process import ChildProcess
from orchestrator.embedded import lock
from orchestrator.settings import PROJECT, Settings, inherited_environment

START_SECONDS_MAX = 1200.0  # the first start makes a model, on a machine that may be busy
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.1
LOG_BYTES_MAX = 1 << 20
READY = "The yard is ready."


class YardFailed(Exception):
    """The yard could not be started; the message is for a person."""


@dataclass(frozen=True)
class RunningYard:
    """Where it answers, and a key to it for each tier."""

    api_url: str
    keys: Mapping[str, str]


@contextmanager
def running(settings: Settings, *, store: Mapping[str, str], console: Console) -> Iterator[RunningYard]:
    """Start a yard on the home of `settings`, say how its parts are doing, stop it at the end.

    `store` are the variables that say where the bytes go; none for the home. Raises YardFailed.
    """
    home = settings.absolute_home()
    if (holder := lock.holder(home)) is not None:
        raise YardFailed(
            f"A yard is up on {home} already: {holder}. The demo starts one of its own: end that"
            " one, or give the demo another home with YARD_HOME=/some/folder."
        )
    api_port = _port(settings, "api_port")
    yard = ChildProcess.spawn(
        [sys.executable, "-m", "api.cli", "up"],
        env={
            **inherited_environment(),
            **store,
            "YARD_HOME": str(home),
            "YARD_API_PORT": str(api_port),
            "YARD_PREFECT_PORT": str(_port(settings, "prefect_port")),
        },
        log=_fresh(home / "logs" / "yard.log"),
        cwd=PROJECT,
        grace_seconds=STOP_SECONDS,
    )
    try:
        _wait_ready(yard, console)
        yield RunningYard(f"http://127.0.0.1:{api_port}", json.loads(settings.keys_file().read_text()))
    finally:
        console.print("stopping the yard")
        yard.terminate(STOP_SECONDS)


def _wait_ready(yard: ChildProcess, console: Console) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    said = 0
    while True:
        lines = yard.tail(LOG_BYTES_MAX).splitlines()
        for line in lines[said:]:
            console.print(f"  {line}", markup=False, soft_wrap=True)
        said = len(lines)
        if READY in lines:
            return
        if yard.poll() is not None:
            raise YardFailed("`yard up` ended before it was ready; its words are above.")
        if time.monotonic() > deadline:
            raise YardFailed(f"`yard up` was not ready within {START_SECONDS_MAX:.0f} s.")
        time.sleep(LOOK_SECONDS)


def _port(settings: Settings, name: str) -> int:
    """The port that the settings name; a usual one that is taken gives way to one that is free."""
    port: int = getattr(settings, name)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            if name in settings.model_fields_set:
                return port  # asked for by name: `yard up` says who is in the way
            probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
        return free


def _fresh(log: Path) -> Path:
    log.unlink(missing_ok=True)
    return log
