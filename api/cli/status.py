"""What `yard up` shows: a table that stays in place, or one line for each change."""

import re
import time
from collections.abc import Sequence

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from api.cli import render
from orchestrator.embedded.supervisor import PartState, PartStatus
from orchestrator.embedded.up import Addresses

STEP = re.compile(r"\bstep (\d+)/(\d+)")  # how a part that runs once says how far it is
BAR_WIDTH = 24
PLAIN_DETAIL_SECONDS = 10.0

STYLES = {
    PartState.WAITING: "dim",
    PartState.STARTING: "yellow",
    PartState.READY: "green",
    PartState.DONE: "green",
    PartState.RESTARTING: "bold red",
    PartState.STOPPING: "yellow",
    PartState.STOPPED: "dim",
}


class LiveStatus:
    """For a terminal. A context manager."""

    def __init__(self) -> None:
        self._live = Live(console=render.out, auto_refresh=False)
        self._parts: Sequence[PartStatus] = ()
        self._addresses: Addresses | None = None

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def changed(self, parts: Sequence[PartStatus]) -> None:
        """Show the parts as they are now."""
        self._parts = parts
        if any(part.state is PartState.STOPPING for part in parts):
            self._addresses = None  # nobody answers there any more
        self._draw()

    def ready(self, addresses: Addresses) -> None:
        """Add where the yard answers."""
        self._addresses = addresses
        self._draw()

    def _draw(self) -> None:
        grid = Table(box=None, show_header=False, pad_edge=False)
        for part in self._parts:
            step = STEP.search(part.detail)
            bar = ProgressBar(float(step[2]), float(step[1]), BAR_WIDTH) if step else ""
            state = Text(part.state, STYLES[part.state])
            grid.add_row(part.name, state, bar, Text(part.detail, "dim", overflow="ellipsis"))
        lines = [] if self._addresses is None else ["", *_lines(self._addresses)]
        self._live.update(Group(grid, *lines), refresh=True)


class PlainStatus:
    """For a log. A context manager, for symmetry."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[PartStatus, float]] = {}

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def changed(self, parts: Sequence[PartStatus]) -> None:
        """Print a line for each new state, and now and then for a new detail."""
        for part in parts:
            before, at = self._said.get(part.name, (None, 0.0))
            moved = before is None or before.state is not part.state
            if part.state is PartState.WAITING or part == before:
                continue
            if moved or time.monotonic() - at > PLAIN_DETAIL_SECONDS:
                self._said[part.name] = (part, time.monotonic())
                _say(": ".join(filter(None, (part.name, part.state, part.detail))))

    def ready(self, addresses: Addresses) -> None:
        """Print where the yard answers."""
        for line in _lines(addresses):
            _say(line)


def _say(line: str) -> None:
    print(line, flush=True)


def _lines(addresses: Addresses) -> list[str]:
    return [
        "The yard is ready.",
        f"  API         {addresses.api}/v1",
        f"  API pages   {addresses.api}/docs",
        f"  plans       {addresses.api}/v1/tiers",
        f"  Prefect     {addresses.prefect_ui}",
        f"  keys        {addresses.keys_file}",
        f"  logs        {addresses.logs}",
        *addresses.notes,
        "Ctrl-C stops it.",
    ]
