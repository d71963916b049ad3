"""Real processes: shells and Pythons that fork, hide in other sessions and ignore signals."""

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import lifeline
from orchestrator.child_process import ChildProcess

ENV = {"PATH": "/usr/bin:/bin"}
DEADLINE_SECONDS = 15.0
# Only root can become somebody else; anybody can become himself.
ANOTHER_USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name

# Starts a grandchild in another session whose parent then ends, says both pids, and stays.
FAMILY = """
import os, subprocess, sys, time
orphan = '''
import os, time
if os.fork(): os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
time.sleep(600)
'''
subprocess.run([sys.executable, "-c", orphan])
print(os.getpid(), "up", flush=True)
time.sleep(600)
"""

SPAWNER = """
import sys, time
from pathlib import Path
from orchestrator.child_process import ChildProcess
child = ChildProcess.spawn(sys.argv[2:], env={}, log=Path(sys.argv[1]), grace_seconds=0.5)
print(child.pid, flush=True)
time.sleep(600)
"""


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS} s for {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "child.log"


@pytest.fixture
def family(log: Path) -> Callable[[], list[int]]:
    """The pids that FAMILY has printed, once there are all."""

    def told() -> list[str]:
        return log.read_text().splitlines(keepends=True) if log.exists() else []

    def pids() -> list[int]:
        until(lambda: len(told()) == 2 and all(line.endswith("\n") for line in told()), "the family")
        return [int(line.split()[0]) for line in told()]

    return pids


@pytest.fixture
def spawner(log: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process of ours that has spawned FAMILY."""
    process = subprocess.Popen(
        [sys.executable, "-c", SPAWNER, str(log), sys.executable, "-c", FAMILY],
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_a_child_tells_its_exit_code_and_its_output(log: Path) -> None:
    child = ChildProcess.spawn(["sh", "-c", "echo $WHO; exit 7"], env=ENV | {"WHO": "me"}, log=log)
    assert child.wait(DEADLINE_SECONDS) == 7
    assert child.poll() == 7
    assert child.tail() == "me\n"
    assert child.terminate(1.0) == 7


def test_a_child_that_died_of_a_signal_says_which(log: Path) -> None:
    child = ChildProcess.spawn(["sh", "-c", "kill -SEGV $$"], env=ENV, log=log)
    assert child.wait(DEADLINE_SECONDS) == -signal.SIGSEGV


def test_a_program_that_does_not_exist_is_an_error_that_names_it(log: Path) -> None:
    with pytest.raises(OSError, match=r"Cannot start no-such-program.*No such file"):
        ChildProcess.spawn(["no-such-program"], env=ENV, log=log)


def test_kill_9_of_the_spawner_ends_every_descendant(
    spawner: subprocess.Popen[str], family: Callable[[], list[int]]
) -> None:
    pids = family()
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    assert os.getsid(pids[0]) != os.getsid(pids[1])
    spawner.kill()
    until(lambda: not any(alive(pid) for pid in pids), "the family's end")


def test_kill_9_of_the_spawner_is_seen_though_its_fork_holds_the_pipe(
    log: Path, family: Callable[[], list[int]]
) -> None:
    forking = SPAWNER.replace("print(child.pid", "import os; os.fork() or time.sleep(60); print(child.pid")
    spawner = subprocess.Popen(
        [sys.executable, "-c", forking, str(log), sys.executable, "-c", FAMILY],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    pids = family()
    spawner.kill()
    spawner.wait(DEADLINE_SECONDS)
    try:
        until(lambda: not any(alive(pid) for pid in pids), "the family's end")
    finally:
        os.killpg(spawner.pid, signal.SIGKILL)


def test_a_child_that_ends_leaves_nobody_behind(log: Path) -> None:
    child = ChildProcess.spawn(["sh", "-c", "setsid sleep 600 & echo $!; exit 3"], env=ENV, log=log)
    assert child.wait(DEADLINE_SECONDS) == 3
    assert not alive(int(child.tail()))


def test_terminate_lets_a_child_say_goodbye(log: Path) -> None:
    script = "trap 'echo bye; exit 0' INT; echo up; while :; do sleep 0.05; done"
    child = ChildProcess.spawn(["sh", "-c", script], env=ENV, log=log, first_signal=signal.SIGINT)
    until(lambda: "up" in child.tail(), "the child")
    assert child.terminate(DEADLINE_SECONDS) == 0
    assert child.tail().endswith("bye\n")


def test_terminate_kills_a_child_that_will_not_hear(log: Path) -> None:
    child = ChildProcess.spawn(["sh", "-c", "trap '' TERM; echo up; sleep 600"], env=ENV, log=log)
    until(lambda: "up" in child.tail(), "the child")
    assert child.terminate(0.1) == -signal.SIGKILL


def test_kill_during_a_long_grace_does_not_wait_for_it(log: Path) -> None:
    child = ChildProcess.spawn(["sh", "-c", "trap '' TERM; echo up; sleep 600"], env=ENV, log=log)
    until(lambda: "up" in child.tail(), "the child")
    child.ask_to_end(600.0)
    assert child.kill() == -signal.SIGKILL


def test_a_signal_that_a_shell_muted_for_us_is_heard_by_the_child(log: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = ChildProcess.spawn(["sleep", "600"], env=ENV, log=log, first_signal=signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert child.terminate(DEADLINE_SECONDS) == -signal.SIGINT


def test_root_can_start_a_child_as_somebody_else(log: Path) -> None:
    child = ChildProcess.spawn(["id", "-un"], env=ENV, log=log, user=ANOTHER_USER)
    assert child.wait(DEADLINE_SECONDS) == 0
    assert child.tail().strip() == ANOTHER_USER


def test_a_killed_lifeline_takes_a_child_of_another_user_along(log: Path) -> None:
    child = ChildProcess.spawn(["sleep", "600"], env=ENV, log=log, user=ANOTHER_USER)
    os.kill(_parent(child.pid), signal.SIGKILL)
    assert child.wait(DEADLINE_SECONDS) == -signal.SIGKILL
    until(lambda: not alive(child.pid), "the child's end")


def test_a_long_log_starts_anew_and_keeps_one_old_part(log: Path) -> None:
    log.parent.mkdir()
    log.write_bytes(b"x" * (lifeline.LOG_BYTES_MAX + 1))
    child = ChildProcess.spawn(["echo", "new"], env=ENV, log=log)
    child.wait(DEADLINE_SECONDS)
    assert child.tail() == "new\n"
    assert log.with_name("child.log.1").stat().st_size == lifeline.LOG_BYTES_MAX + 1


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
