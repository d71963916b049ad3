"""Keeps a set of programs running: starts them by stages, restarts what dies, stops all in reverse.

A part starts when every part of the stages before its own has been ready once. What the programs do
is not known here; `up.py` says which they are and how each proves that it answers. Should we be
killed ourselves, `orchestrator.child_process` takes every program down with us.
"""

import re
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from orchestrator import clock, lifeline
from orchestrator.child_process import ChildProcess

LOOK_EVERY_SECONDS = 0.2
BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # by deaths in a row; the last one repeats
STEADY_SECONDS = 60.0  # who has been ready this long starts with a clean slate
DEATHS_MAX = 10  # in a row: about two minutes of trying
DEATHS_BEFORE_READY_MAX = 3  # a program that has never answered is misconfigured rather than unlucky
LAST_WORDS_LINES = 15
LAST_LINE_BYTES_MAX = 512


class PartState(StrEnum):
    WAITING = "waiting"  # for the stages before it
    STARTING = "starting"  # runs, and does not answer yet
    READY = "ready"
    DONE = "done"  # a part that runs once has ended well
    RESTARTING = "restarting"  # died; starts again after a pause
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Part:
    """One program to keep running, or with `once` to run to a good end.

    `ready` is asked with the moment of the start, again and again until it says yes; it must answer
    within a few seconds. The program gets `grace_seconds` between `stop_signal` and SIGKILL. `user`
    drops root's rights.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    ready: Callable[[datetime], bool] = lambda _: True
    ready_within_seconds: float = 120.0
    grace_seconds: float = 10.0
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None
    once: bool = False


@dataclass(frozen=True)
class PartStatus:
    """How one part is doing. `detail` says why, where there is something to say."""

    name: str
    state: PartState
    detail: str = ""
    pid: int | None = None


class PartFailed(Exception):
    """A part died too often, or cannot be started at all. The message ends with its last words."""


class Supervisor:
    """Used once: `run` blocks until it is told to end, and leaves nothing running."""

    def __init__(
        self,
        stages: Sequence[Sequence[Part]],
        *,
        logs: Path,
        changed: Callable[[Sequence[PartStatus]], None] = lambda _: None,
    ) -> None:
        """A part prints into `logs`/<name>.log. `changed` hears of every change of any state."""
        self._stages = [[_Watched(part, logs / f"{part.name}.log") for part in s] for s in stages]
        self._changed = changed
        self._told: list[PartStatus] = []

    def run(self, *, until: threading.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Start everything, call `ready` once when all of it is, keep it running until told to end.

        Whatever ends it, everything is stopped in reverse. Raises PartFailed.
        """
        all_ready = False
        for watched in self._all():
            watched.set_old_log_aside()
        try:
            while not until.is_set():
                self._look()
                if not all_ready and all(_stage_is_ready(stage) for stage in self._stages):
                    all_ready = True
                    ready()
                until.wait(LOOK_EVERY_SECONDS)
        finally:
            self._stop()

    def _look(self) -> None:
        for stage in self._stages:
            for watched in stage:
                watched.look()
            self._tell()
            if not _stage_is_ready(stage):
                break

    def _stop(self) -> None:
        for stage in reversed(self._stages):
            for watched in reversed(stage):
                watched.ask_to_stop()
            self._tell()
            for watched in reversed(stage):
                watched.wait_stopped()
            self._tell()

    def _tell(self) -> None:
        statuses = [watched.status() for watched in self._all()]
        if statuses != self._told:
            self._told = statuses
            self._changed(statuses)

    def _all(self) -> list["_Watched"]:
        return [watched for stage in self._stages for watched in stage]


@dataclass
class _Watched:
    """One part, its present process, and how often it has died."""

    part: Part
    log: Path
    process: ChildProcess | None = None
    state: PartState = PartState.WAITING
    detail: str = ""
    was_ready: bool = False
    deaths: int = 0
    since: float = field(default_factory=time.monotonic)  # when `state` began
    started_at: datetime = field(default_factory=clock.now)  # the present process

    def set_old_log_aside(self) -> None:
        """Keep the log of the yard before this one as <name>.log.1."""
        if self.log.exists():
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))

    def look(self) -> None:
        """Bring the state up to date, one step at a time. Raises PartFailed."""
        match self.state:
            case PartState.WAITING:
                self._start()
            case PartState.RESTARTING if (
                self._age() >= BACKOFF_SECONDS[min(self.deaths, len(BACKOFF_SECONDS)) - 1]
            ):
                self._start()
            case PartState.STARTING | PartState.READY:
                self._watch()

    def status(self) -> PartStatus:
        pid = None if self.process is None else self.process.pid
        return PartStatus(self.part.name, self.state, self.detail, pid)

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self._enter(PartState.STOPPING)
            self.process.ask_to_end(self.part.grace_seconds)

    def wait_stopped(self) -> None:
        if self.process is not None:
            try:
                # no second SIGTERM: many servers read it as "at once"
                self.process.wait(self.part.grace_seconds + 2 * lifeline.REAP_SECONDS_MAX)
            except TimeoutError as error:
                self.detail = f"left to the kernel: {error}"
        if self.state not in (PartState.WAITING, PartState.DONE):
            self._enter(PartState.STOPPED)

    def _start(self) -> None:
        self.started_at = clock.now()
        try:
            self.process = ChildProcess.spawn(
                self.part.argv,
                env=self.part.env,
                log=self.log,
                cwd=self.part.cwd,
                user=self.part.user,
                first_signal=self.part.stop_signal,
                grace_seconds=self.part.grace_seconds,
            )
        except OSError as error:
            raise PartFailed(f"{self.part.name}: {error}") from error
        self._enter(PartState.STARTING)

    def _watch(self) -> None:
        assert self.process is not None
        code = self.process.poll()
        if code == 0 and self.part.once:
            self.was_ready = True
            self._enter(PartState.DONE)
        elif code is not None:
            self._died(f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}")
        elif self.state is PartState.READY:
            if self._age() > STEADY_SECONDS:
                self.deaths = 0
        elif self._age() > self.part.ready_within_seconds:
            self.process.kill()
            self._died(f"was not ready within {self.part.ready_within_seconds:.0f} s")
        elif self.part.once:
            self.detail = self._last_line()
        elif self.part.ready(self.started_at):
            self.was_ready = True
            self._enter(PartState.READY)

    def _died(self, how: str) -> None:
        self.deaths += 1
        deaths_max = DEATHS_MAX if self.was_ready else DEATHS_BEFORE_READY_MAX
        if self.deaths >= deaths_max:
            often = f"{how}, {self.deaths} times in a row."
            raise PartFailed(f"{self.part.name} {often}{self._last_words()}")
        self._enter(PartState.RESTARTING, f"{how}; restart {self.deaths}")

    def _last_line(self) -> str:
        assert self.process is not None
        lines = re.split(r"[\r\n]+", self.process.tail(LAST_LINE_BYTES_MAX).rstrip())
        return lines[-1].strip()

    def _last_words(self) -> str:
        assert self.process is not None
        lines = self.process.tail().splitlines()[-LAST_WORDS_LINES:]
        return "".join(f"\n    {line}" for line in lines) + f"\n  Its whole log: {self.log}"

    def _enter(self, state: PartState, detail: str = "") -> None:
        self.state, self.detail, self.since = state, detail, time.monotonic()

    def _age(self) -> float:
        return time.monotonic() - self.since


def _stage_is_ready(stage: Sequence[_Watched]) -> bool:
    """Whether the next stage may start: each part has been ready, even if it restarts just now."""
    return all(watched.was_ready for watched in stage)
