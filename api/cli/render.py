"""How the commands speak: tables for people, tab-separated lines for pipes, JSON for scripts."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.cli.client import Refused

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def show_json(value: Any) -> None:
    """Print a document as the API sent it."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings; tab-separated and without headings when nobody is looking."""
    if not out.is_terminal:
        for row in rows:
            print("\t".join("-" if value is None else str(value) for value in row))
        return
    grid = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        grid.add_row(*[Text(_text(value)) for value in row])
    out.print(grid)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line, leaving out what is not known."""
    known = [(name, _text(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        out.print(f"[dim]{name:<{width}}[/]  ", end="")
        out.print(value, markup=False, soft_wrap=True)


def refusal(error: Refused) -> None:
    """The yard's own words, then what helps to find the place and to report it."""
    err.print("[bold red]Refused:[/] ", end="")
    err.print(str(error), markup=False, soft_wrap=True)
    details = {"code": error.code, "param": error.param, "request": error.request_id}
    err.print(
        "  ".join(f"{name}: {value}" for name, value in details.items() if value),
        style="dim",
        markup=False,
        soft_wrap=True,
    )


def trouble(error: Exception) -> None:
    """One line for a person, on stderr."""
    err.print(str(error), style="red", markup=False, soft_wrap=True)


def moment(unix: int | None) -> str | None:
    """Unix seconds as a local time to the minute."""
    if unix is None:
        return None
    return datetime.fromtimestamp(unix, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def dollars(micros: int) -> str:
    """Millionths of a dollar, with as many digits as there is money in."""
    return f"${micros / 1e6:,.2f}" if micros >= 10_000_000 else f"${micros / 1e6:.6f}"


def size(count: int) -> str:
    """Bytes in the largest unit that keeps a digit before the point."""
    if count < 1000:
        return f"{count} B"
    units = ("kB", "MB", "GB", "TB")
    power = min(len(units), (len(str(count)) - 1) // 3)
    return f"{count / 1000**power:.1f} {units[power - 1]}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: `41 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
