"""A child process that never outlives us: it and its descendants die when we do, kill -9 included.

Engines, the private Postgres and every process of `yard up` are started this way, so that nobody
holds a GPU for nobody. `lifeline.py` stands between us and the child and says how. Linux only.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator import lifeline

LAST_WORDS_BYTES = 16 * 1024
_REPORT_BYTES_MAX = 4096


class ChildProcess:
    """Made by `spawn`; the child lives no longer than this object.

    Every method may be called from any thread; those that wait say so.
    """

    def __init__(self, process: subprocess.Popen[bytes], pid: int, log: Path, first_signal: int) -> None:
        self._process = process
        self._log = log
        self._first_signal = first_signal
        self.pid = pid  # the child's own, not its lifeline's

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
        user: str | None = None,
        first_signal: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 10.0,
    ) -> "ChildProcess":
        """Start `argv` with exactly the environment `env`; what it prints is appended to `log`.

        A `user` drops root's rights. Should we die, the child gets `first_signal`, and SIGKILL
        `grace_seconds` later. Waits until it runs (tens of milliseconds). Raises OSError if the
        program cannot be started.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        lifeline.bound_log(log)
        report, report_fd = os.pipe()
        options = lifeline.Options(
            starter_pid=os.getpid(),
            report_fd=report_fd,
            log=str(log),
            cwd=None if cwd is None else str(cwd),
            user=user,
            first_signal=first_signal,
            grace_seconds=grace_seconds,
        )
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", lifeline.__file__, options.to_json(), *argv],
                    env=dict(env),
                    stdin=subprocess.PIPE,
                    bufsize=0,
                    stdout=output,
                    stderr=output,
                    pass_fds=[report_fd],
                    start_new_session=True,  # a terminal's Ctrl-C is for us to interpret
                )
        finally:
            os.close(report_fd)
        with open(report, "rb") as pipe:
            line = pipe.read(_REPORT_BYTES_MAX).decode().strip()
        if not line.isdigit():
            process.communicate()
            raise OSError(f"Cannot start {argv[0]}: {line.removeprefix('!') or f'see {log}'}")
        return cls(process, int(line), log, first_signal)

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        return self._ended(self._process.poll())

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises TimeoutError."""
        try:
            code = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as expired:
            raise TimeoutError(f"Process {self.pid} still runs after {expired.timeout} s.") from None
        self._ended(code)
        return code

    def terminate(self, grace_seconds: float) -> int:
        """Send the first signal, after the grace SIGKILL to all that is left. Waits for the end and
        returns the exit code."""
        self.ask_to_end(grace_seconds)
        return self.wait(grace_seconds + 2 * lifeline.REAP_SECONDS_MAX)

    def ask_to_end(self, grace_seconds: float) -> None:
        """`terminate` without the wait."""
        self._order(self._first_signal, grace_seconds)

    def kill(self) -> int:
        """SIGKILL the child and its descendants. Waits until they are gone."""
        self._order(signal.SIGKILL, 0.0)
        return self.wait(2 * lifeline.REAP_SECONDS_MAX)

    def tail(self, bytes_max: int = LAST_WORDS_BYTES) -> str:
        """The end of what the child has printed."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - bytes_max))
                return log.read(bytes_max).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _order(self, number: int, grace_seconds: float) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"%d %f\n" % (number, grace_seconds))
        except (BrokenPipeError, ValueError):
            pass  # it has ended; ValueError: and its pipe was closed

    def _ended(self, code: int | None) -> int | None:
        """Let go of the pipe of a child that has ended."""
        if code is not None and self._process.stdin is not None:
            self._process.stdin.close()
        return code
