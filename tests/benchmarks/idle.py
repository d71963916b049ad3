"""What a yard costs that has nothing to do: memory and CPU of each of its programs."""

import time

from tests.benchmarks.processes import Use, use_by_program
from tests.benchmarks.running import whole_yard
from tests.benchmarks.table import Table

SETTLE_SECONDS = 15.0  # what a start leaves behind is over by then
SECONDS, SECONDS_QUICK = 30.0, 10.0

NOTES = """\
No engine runs and no batch waits. PSS divides a page by those who share it; RSS counts it for each. CPU is
that of one core. The lifelines are the processes by which every other one ends with `yard up`."""


def measure(*, quick: bool) -> Table:
    """One yard, some seconds after its start."""
    seconds = SECONDS_QUICK if quick else SECONDS
    with whole_yard() as yard:
        assert yard.process is not None
        time.sleep(SETTLE_SECONDS)
        before = use_by_program(yard.process.pid)
        began = time.monotonic()
        time.sleep(seconds)
        after = use_by_program(yard.process.pid)
        took = time.monotonic() - began

    def row(name: str, use: Use, cpu_seconds: float) -> list[str]:
        return [name, f"{use.pss_mb:.0f} MB", f"{use.rss_mb:.0f} MB", f"{cpu_seconds / took:.1%}"]

    spent = {name: use.cpu_seconds - before.get(name, Use()).cpu_seconds for name, use in after.items()}
    total = Use(
        rss_mb=sum(use.rss_mb for use in after.values()), pss_mb=sum(use.pss_mb for use in after.values())
    )
    rows = [row(name, use, spent[name]) for name, use in sorted(after.items())]
    return Table(
        title=f"A yard at rest, over {seconds:.0f} s",
        columns=("", "PSS", "RSS", "CPU"),
        rows=[*rows, row("**all**", total, sum(spent.values()))],
        notes=NOTES,
    )
