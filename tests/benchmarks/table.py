"""How a benchmark's figures are shown: a markdown table, and the machine they are from."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import clock


@dataclass(frozen=True)
class Table:
    """The figures of one benchmark. `notes` say what was measured, and how."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: str

    def markdown(self) -> str:
        """The table under its title, as a page shows it."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"### {self.title}\n\n{body}\n\n{self.notes}\n"


def machine() -> str:
    """Date, cores, processor, memory and load of this machine, in one line."""
    names = _fields(Path("/proc/cpuinfo"))
    memory = int(_fields(Path("/proc/meminfo"))["MemTotal"].split()[0]) / 2**20
    cores = len(os.sched_getaffinity(0))
    return (
        f"{clock.now():%Y-%m-%d}, {cores} cores of {names.get('model name', 'an unnamed CPU')}, "
        f"{memory:.0f} GiB of memory; load before: {os.getloadavg()[0]:.1f}"
    )


def _fields(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in path.read_text().splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
