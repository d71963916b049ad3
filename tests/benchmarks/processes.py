"""Memory and CPU of the programs that this process has started, and of all that they have started."""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
HELD_BY_LIFELINE = "lifelines"

# What a command line contains, and what that program is called here. The first that fits counts.
PROGRAMS = (
    ("lifeline.py", HELD_BY_LIFELINE),
    ("postgres", "postgres"),
    ("prefect server start", "prefect server"),
    ("flows.dispatcher", "dispatcher"),
    ("flows.worker --pool cpu", "worker, cpu"),
    ("flows.worker --pool gpu", "worker, gpu"),
    ("api.cli up", "yard up"),
    ("-m api", "api"),
)


@dataclass
class Use:
    """Of one program, all its processes together. PSS shares common pages among their users."""

    rss_mb: float = 0.0
    pss_mb: float = 0.0
    cpu_seconds: float = 0.0  # since each of them started, ended children included


def use_by_program() -> dict[str, Use]:
    """What every descendant of this process uses now, summed by program."""
    used: dict[str, Use] = defaultdict(Use)
    for pid in _descendants(os.getpid()):
        try:
            program = used[_program(pid)]
            program.rss_mb += _kilobytes(pid, "status", "VmRSS") / 1e3
            program.pss_mb += _kilobytes(pid, "smaps_rollup", "Pss") / 1e3
            program.cpu_seconds += _cpu_seconds(pid)
        except OSError:
            pass  # it has just ended
    return dict(used)


def pid_of(program: str) -> int:
    """The oldest process of a program. Raises LookupError."""
    for pid in sorted(_descendants(os.getpid())):
        if _program(pid) == program:
            return pid
    raise LookupError(f"none of our descendants is {program!r}")


def rss_mb(pid: int) -> float:
    """Resident memory now."""
    return _kilobytes(pid, "status", "VmRSS") / 1e3


def peak_rss_mb(pid: int) -> float:
    """The most resident memory since `forget_peak`, or since it started."""
    return _kilobytes(pid, "status", "VmHWM") / 1e3


def forget_peak(pid: int) -> None:
    """Let the peak begin anew from now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _descendants(root: int) -> Iterable[int]:
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = path.read_text().partition(" (")
        except OSError:
            continue
        children[int(rest.rpartition(") ")[2].split()[1])].append(int(pid))
    found, open_ = [], [root]
    while open_:
        more = children[open_.pop()]
        found += more
        open_ += more
    return found


def _program(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return next((name for part, name in PROGRAMS if part in command), "others")


def _kilobytes(pid: int, file: str, field: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0  # a process that has ended and waits for its parent


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_SECOND
