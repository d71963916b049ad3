"""Memory and CPU of every program of a running yard."""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tests.yard_process import PARTS, command_line, descendants

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LIFELINES, SUPERVISOR = "lifelines", "yard up"


@dataclass
class Use:
    """Of one program, all its processes together. PSS shares common pages among their users."""

    rss_mb: float = 0.0
    pss_mb: float = 0.0
    cpu_seconds: float = 0.0  # since they started, their ended children included


def use_by_program(root: int) -> dict[str, Use]:
    """What process `root` and its descendants use now, summed by program."""
    used: dict[str, Use] = defaultdict(Use)
    for pid in [root, *descendants(root)]:
        try:
            program = used[_program(pid)]
            program.rss_mb += rss_mb(pid)
            program.pss_mb += _megabytes(pid, "smaps_rollup", "Pss")
            program.cpu_seconds += cpu_seconds(pid)
        except OSError:
            pass  # it has just ended
    return dict(used)


def rss_mb(pid: int) -> float:
    """Resident memory now."""
    return _megabytes(pid, "status", "VmRSS")


def peak_rss_mb(pid: int) -> float:
    """The most resident memory since `forget_peak`, or since it started."""
    return _megabytes(pid, "status", "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak begin anew from now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    """User and system time since it started, its ended children included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_SECOND


def _program(pid: int) -> str:
    line = command_line(pid)
    if "lifeline.py" in line:
        return LIFELINES
    names = (name for name, pattern in PARTS.items() if re.search(pattern, line))
    return next(names, "postgres" if line.startswith("postgres: ") else SUPERVISOR)


def _megabytes(pid: int, file: str, field: str) -> float:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0  # a process that has ended and waits for its parent
