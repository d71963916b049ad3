"""The line by which a child hangs: it dies, with all its descendants, when its starter dies.

Run by path, `python -I lifeline.py <Options as JSON> argv…`. It knows only the standard library and
stands between the starter and the child:

    starter ──pipe──> lifeline ──fork──> child ──> descendants, in whatever sessions

- The pipe closes, or the starter's pidfd fires: the starter is dead, kill -9 included.
- A line `<signal> <grace seconds>` comes through the pipe: the starter wants an end that way.
- The child ends by itself: end what it leaves behind.

To end a child is to send it the first signal, and SIGKILL to every descendant once it is gone or
the grace is over. The lifeline is a subreaper, which inherits every orphan, so no descendant hides
in a session of its own. It ends as the child did, by the same exit code or signal. Should it be
killed itself, the kernel kills the child.
"""

import ctypes
import json
import os
import pwd
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

LOG_BYTES_MAX = 16 * 2**20  # a longer log moves to `<log>.1`, so two of these at most
LOG_CHECK_SECONDS = 30.0
REAP_SECONDS_MAX = 20.0  # a process stuck in the kernel is left to the kernel after this
CANNOT_START = 127  # a shell's exit code for a command that does not run
_MESSAGE_BYTES_MAX = 4096
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


@dataclass(frozen=True)
class Options:
    """What the starter says.

    `report_fd` takes one line: the child's pid, or `!` and why there is none.
    """

    starter_pid: int
    report_fd: int
    log: str
    cwd: str | None
    user: str | None
    first_signal: int
    grace_seconds: float

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def main(options: Options, argv: list[str]) -> int:
    """Hold the child until it ends or has to; return how it ended, as a wait status."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    orders = Orders(options)
    child = _start(options, argv)
    if child is None:
        return CANNOT_START << 8
    status = None
    kill_at = float("inf")
    log_check_at = 0.0
    while status is None and time.monotonic() < kill_at:
        if time.monotonic() >= log_check_at:
            bound_log(Path(options.log))
            log_check_at = time.monotonic() + LOG_CHECK_SECONDS
        order = orders.wait(min(kill_at, log_check_at) - time.monotonic())
        status = _reap(child)
        if order is not None and status is None:
            first_signal, grace_seconds = order
            _signal(child, first_signal)
            kill_at = min(kill_at, time.monotonic() + grace_seconds)
    return _end_descendants(child, status)


def bound_log(log: Path) -> None:
    """Move a long log's bytes to `<log>.1`. Its writers append, so they need not know."""
    try:
        if log.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_name(log.name + ".1"))
            os.truncate(log, 0)
    except FileNotFoundError:
        pass  # somebody removed the log: nothing to bound


class Orders:
    """Everything that can tell the lifeline to end its child, waited for in one place."""

    def __init__(self, options: Options) -> None:
        self._by_default = (options.first_signal, options.grace_seconds)
        self._stdin = sys.stdin.fileno()
        self._wakeups, wakeup = os.pipe()
        for end in (self._wakeups, wakeup):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._poller = select.poll()
        for fd in (self._stdin, self._wakeups):
            self._poller.register(fd, select.POLLIN)
        # The pipe alone is not enough: a fork of the starter may hold its other end for longer.
        if os.getppid() == options.starter_pid:
            self._poller.register(os.pidfd_open(options.starter_pid), select.POLLIN)
        if os.getppid() != options.starter_pid:  # it died before we could watch it
            os.write(wakeup, bytes([signal.SIGHUP]))

    def wait(self, seconds: float) -> tuple[int, float] | None:
        """The next order (signal, grace seconds); None if none came in time or a child ended."""
        ready = {fd for fd, _ in self._poller.poll(max(0.0, seconds) * 1000 + 1)}
        if self._wakeups in ready:
            ready.remove(self._wakeups)
            signals = os.read(self._wakeups, _MESSAGE_BYTES_MAX)
            if any(number != signal.SIGCHLD for number in signals):
                return self._by_default
        if self._stdin in ready:
            ready.remove(self._stdin)
            lines = os.read(self._stdin, _MESSAGE_BYTES_MAX).split(b"\n")
            if len(lines) > 1:
                number, grace_seconds = lines[-2].split()
                return int(number), float(grace_seconds)
            self._poller.unregister(self._stdin)
            return self._by_default
        for starter in ready:
            self._poller.unregister(starter)
            return self._by_default
        return None


def _start(options: Options, argv: list[str]) -> int | None:
    """Start the child in a session of its own and report its pid; None if it cannot start."""
    user = None if options.user is None else pwd.getpwnam(options.user)
    try:
        child = subprocess.Popen(
            argv,
            cwd=options.cwd,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            preexec_fn=_hang_on,  # this process has one thread: forking with Python code is safe
        )
        report = str(child.pid)
        child.returncode = 0  # _reap waits for it, not Popen
    except OSError as error:
        child, report = None, f"!{error}"
    os.write(options.report_fd, report.encode() + b"\n")
    os.close(options.report_fd)
    return None if child is None else child.pid


def _hang_on() -> None:
    """In the child, before its program: hear every signal, and die with the lifeline."""
    # A shell's `&` mutes SIGINT for all that it starts, and a muted signal stays muted over exec.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) refused")


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended first, which is what the signal was for


def _reap(child: int) -> int | None:
    """Collect whatever has ended; the child's wait status if it was among them."""
    status = None
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                status = ended[1]
    except ChildProcessError:
        pass  # nobody left
    return status


def _end_descendants(child: int, status: int | None) -> int:
    """SIGKILL until nobody is left. A new fork is found on the next round; orphans come to us."""
    deadline = time.monotonic() + REAP_SECONDS_MAX
    while time.monotonic() < deadline:
        for pid in _descendants(os.getpid()):
            _signal(pid, signal.SIGKILL)
        ended = _reap(child)
        status = ended if ended is not None else status
        if not _descendants(os.getpid()):
            break
        time.sleep(0.01)
    return signal.SIGKILL if status is None else status


def _descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                # "pid (name) state ppid …", where the name may hold spaces and brackets
                stat = Path(entry.path, "stat").read_bytes()
            except OSError:
                continue  # gone since the listing
            parent = int(stat[stat.rindex(b")") + 2 :].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [ancestor]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found[1:]


def _end_like(status: int) -> None:
    """Exit as the child did, by its code or by its signal."""
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is the child's, not ours too
        if os.WTERMSIG(status) != signal.SIGKILL:
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    _end_like(main(Options(**json.loads(sys.argv[1])), sys.argv[2:]))
