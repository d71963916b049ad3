"""The supervisor with stand-in programs: small Python scripts that say in files that they live."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.embedded import lock, supervisor
from orchestrator.embedded.supervisor import Part, PartFailed, PartState, PartStatus, Supervisor
from orchestrator.settings import inherited_environment

pytestmark = pytest.mark.server

DEADLINE_SECONDS = 20.0
REPOSITORY = Path(__file__).parents[3]

# Writes its pid, and lives until SIGTERM; then appends its name to `ended`.
LIVES = """
import os, pathlib, signal, sys
name = sys.argv[1]
def end(*_):
    with open("ended", "a") as ended: ended.write(name + " ")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path(name + ".part").write_text(str(os.getpid()))
pathlib.Path(name + ".part").rename(name + ".pid")
while True: signal.pause()
"""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


def lives(name: str, folder: Path) -> Part:
    """A part that is ready when it has written its pid."""
    return Part(
        name=name,
        argv=[sys.executable, "-S", "-c", LIVES, name],
        env=inherited_environment(),
        cwd=folder,
        ready=lambda _: (folder / f"{name}.pid").exists(),
    )


def script(name: str, code: str, folder: Path, *, once: bool = False) -> Part:
    return Part(
        name=name,
        argv=[sys.executable, "-S", "-c", code],
        env=inherited_environment(),
        cwd=folder,
        once=once,
    )


class Running:
    """A supervisor in a thread, everything it said, and how it ended."""

    def __init__(self, stages: Sequence[Sequence[Part]], folder: Path) -> None:
        self.heard: list[Sequence[PartStatus]] = []
        self.ready = threading.Event()
        self.until = threading.Event()
        self.failure: PartFailed | None = None
        self._supervisor = Supervisor(stages, logs=folder / "logs", changed=self.heard.append)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._supervisor.run(until=self.until, ready=self.ready.set)
        except PartFailed as failure:
            self.failure = failure

    def join(self) -> None:
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()

    def state(self, name: str) -> PartState:
        return next(status.state for status in self.heard[-1] if status.name == name)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*stages: Sequence[Part]) -> Running:
        started.append(Running(stages, tmp_path))
        return started[-1]

    yield start
    for running in started:
        running.until.set()
        running.join()


def test_a_stage_starts_when_the_one_before_it_answers(run: Callable[..., Running], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = Part(**{**vars(lives("first", tmp_path)), "ready": lambda _: gate.exists()})
    running = run([first], [lives("second", tmp_path)])

    wait_for((tmp_path / "first.pid").exists, "the first part")
    assert running.state("second") is PartState.WAITING
    assert not running.ready.is_set()

    gate.touch()
    assert running.ready.wait(DEADLINE_SECONDS)
    assert running.state("first") is running.state("second") is PartState.READY


def test_everything_stops_in_reverse(run: Callable[..., Running], tmp_path: Path) -> None:
    running = run([lives("a", tmp_path)], [lives("b", tmp_path)], [lives("c", tmp_path)])
    assert running.ready.wait(DEADLINE_SECONDS)
    running.until.set()
    running.join()
    assert (tmp_path / "ended").read_text().split() == ["c", "b", "a"]
    assert {status.state for status in running.heard[-1]} == {PartState.STOPPED}


def test_a_part_that_dies_is_started_again(run: Callable[..., Running], tmp_path: Path) -> None:
    running = run([lives("a", tmp_path)])
    assert running.ready.wait(DEADLINE_SECONDS)
    pid_file = tmp_path / "a.pid"
    first_pid = int(pid_file.read_text())
    pid_file.unlink()
    os.kill(first_pid, signal.SIGKILL)
    wait_for(pid_file.exists, "the second life")
    assert int(pid_file.read_text()) != first_pid
    said = [status.detail for statuses in running.heard for status in statuses]
    assert "was ended by signal 9; restart 1" in said


def test_a_task_runs_once_and_holds_back_what_needs_it(run: Callable[..., Running], tmp_path: Path) -> None:
    task = script("task", "open('runs', 'a').write('x')", tmp_path, once=True)
    running = run([task], [lives("after", tmp_path)])
    assert running.ready.wait(DEADLINE_SECONDS)
    assert running.state("task") is PartState.DONE
    assert (tmp_path / "runs").read_text() == "x"


def test_a_part_that_never_answers_ends_the_yard_with_its_last_words(
    run: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS", (0.0,))
    broken = Part(
        **{
            **vars(script("broken", "print('no such database'); raise SystemExit(3)", tmp_path)),
            "ready": lambda _: False,
        }
    )
    running = run([lives("fine", tmp_path)], [broken])
    running.join()
    assert running.failure is not None
    assert "broken ended with code 3, 3 times in a row" in str(running.failure)
    assert "no such database" in str(running.failure)
    assert (tmp_path / "ended").read_text().split() == ["fine"]


def test_a_part_that_hangs_at_its_start_is_killed_and_tried_again(
    run: Callable[..., Running], tmp_path: Path
) -> None:
    slow = Part(
        **{
            **vars(lives("slow", tmp_path)),
            "ready": lambda _: False,
            "ready_within_seconds": 0.1,
        }
    )
    running = run([slow])
    wait_for(
        lambda: any("was not ready within" in s.detail for said in running.heard for s in said),
        "the kill",
    )


SUPERVISES = """
import pathlib, sys, threading
sys.path.insert(0, {repository!r})
from orchestrator.embedded import lock
from tests.orchestrator.embedded.test_supervisor import lives
from orchestrator.embedded.supervisor import Supervisor
home = pathlib.Path({folder!r})
with lock.hold(home, api_url="http://here"):
    Supervisor([[lives("a", home), lives("b", home)]], logs=home / "logs").run(
        until=threading.Event(), ready=(home / "ready").touch)
"""


@pytest.mark.fault
def test_kill_9_of_the_supervisor_leaves_nothing_and_the_next_takes_over(tmp_path: Path) -> None:
    code = SUPERVISES.format(repository=str(REPOSITORY), folder=str(tmp_path))

    first = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for((tmp_path / "ready").exists, "the first yard")
        pids = [int((tmp_path / f"{name}.pid").read_text()) for name in "ab"]
        assert lock.holder(tmp_path) == f"process {first.pid}, answering at http://here"
        with pytest.raises(lock.AlreadyUp, match=f"process {first.pid}"):
            lock.hold(tmp_path, api_url="").__enter__()
    finally:
        first.kill()
        first.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids), "the end of every descendant")

    with lock.hold(tmp_path, api_url="http://there"):
        assert lock.holder(tmp_path) == f"process {os.getpid()}, answering at http://there"
    assert lock.holder(tmp_path) is None


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
