"""`yard usage` and `yard invoice`: what was used, what it cost, day by day and month by month."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated

import typer
from rich.bar import Bar
from rich.table import Table

from api.cli import render
from api.cli.client import Client, Document, connect
from orchestrator import clock

Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]

COUNTS = ("lines", "input_tokens", "cached_tokens", "output_tokens", "trained_tokens", "cost_micros")
COLUMNS = ("LINES", "INPUT", "CACHED", "OUTPUT", "TRAINED", "COST")
BAR_CHARACTERS = 24


class By(StrEnum):
    """What usage may be divided by."""

    PROJECT = "project"
    MODEL = "model"
    KIND = "kind"


def usage(
    days: Annotated[int, typer.Option(min=1, max=366, help="So many days back, today included (UTC).")] = 30,
    by: Annotated[list[By] | None, typer.Option(help="Add up by this instead of by day; repeat it.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Every day, as CSV.")] = False,
    json: Json = False,
) -> None:
    """Show lines, tokens and cost by day, or added up by project, model or kind of work.

    ```
    yard usage
    yard usage --days 7 --by model --by kind
    yard usage --days 366 --by project --csv > usage.csv
    ```
    """
    first = clock.now().date() - timedelta(days=days - 1)
    start = clock.unix(datetime.combine(first, time(), UTC))
    groups = [one.value for one in by or []]
    query = {"start_time": start, "limit": days, "group_by": groups or None}
    with connect() as yard:
        if as_csv:
            _copy(yard, "/usage", format="csv", **query)
            return
        page = yard.get("/usage", **query)
    if json:
        render.show_json(page)
    elif groups:
        _show_groups(page, groups)
    else:
        _show_days(page)


def invoice(
    month: Annotated[str | None, typer.Argument(help="Such as 2026-11; default: the running month.")] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Every month and its total.")] = False,
    html: Annotated[bool, typer.Option("--html", help="A page to print, on standard output.")] = False,
    json: Json = False,
) -> None:
    """Show what a month cost, line by line. The running month is a draft.

    ```
    yard invoice
    yard invoice 2026-10 --html > invoice.html
    ```
    """
    month = month or f"{clock.now():%Y-%m}"
    with connect() as yard:
        if list_all:
            months = yard.items("/invoices", limit=120)
            render.show_json(months) if json else _show_months(months)
        elif html:
            _copy(yard, f"/invoices/{month}", format="html")
        else:
            found = yard.get(f"/invoices/{month}")
            render.show_json(found) if json else _show_invoice(found)


def _show_days(page: Document) -> None:
    """A row a day, oldest first, with a bar as long as its share of the costliest day; where nothing costs
    anything, of the day with the most tokens."""
    days = [(_day(bucket["start_time"]), _sum(bucket["results"])) for bucket in page["data"]]
    if not render.out.is_terminal:
        render.table((), ((day.isoformat(), *counts) for day, counts in days))
        return
    sizes = [counts[-1] for _, counts in days]
    if not any(sizes):
        sizes = [sum(counts[1:5]) for _, counts in days]
    grid = Table("DAY", "", box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        grid.add_column(column, justify="right")
    for (day, counts), size in zip(days, sizes, strict=True):
        bar = Bar(max(sizes) or 1, 0, size, width=BAR_CHARACTERS, color="green")
        grid.add_row(day.isoformat(), bar, *_texts(counts))
    total = _sum(result for bucket in page["data"] for result in bucket["results"])
    grid.add_row("in all", "", *_texts(total), style="bold")
    render.out.print(grid)


def _show_groups(page: Document, groups: Sequence[str]) -> None:
    """The whole time added up, costliest first."""
    fields = ["project_id" if name == "project" else name for name in groups]
    found: defaultdict[tuple[str, ...], list[Document]] = defaultdict(list)
    for bucket in page["data"]:
        for result in bucket["results"]:
            found[tuple(result[field] for field in fields)].append(result)
    summed = sorted(((key, _sum(results)) for key, results in found.items()), key=lambda one: -one[1][-1])
    render.table(
        (*(name.upper() for name in groups), *COLUMNS),
        ((*key, *_cells(counts)) for key, counts in summed),
    )


def _show_months(months: Sequence[Document]) -> None:
    render.table(
        ("MONTH", "STATUS", "TOTAL"),
        ((one["id"], one["status"], render.dollars(one["total_micros"])) for one in months),
    )


def _show_invoice(found: Document) -> None:
    render.facts(
        (
            ("invoice", found["number"]),
            ("organization", found["organization"]),
            ("status", found["status"]),
            ("total", render.dollars(found["total_micros"])),
        )
    )
    render.table(
        ("PROJECT", "WORK", "MODEL", *COLUMNS),
        (
            (line["project"], line["kind"], line["model"], *_cells([line[name] for name in COUNTS]))
            for line in found["lines"]
        ),
    )


def _copy(yard: Client, path: str, **query: object) -> None:
    """Put the answer on standard output as it comes."""
    for piece in yard.download(path, **query):
        sys.stdout.buffer.write(piece)


def _day(unix: int) -> date:
    return datetime.fromtimestamp(unix, UTC).date()


def _sum(results: Iterable[Document]) -> list[int]:
    """COUNTS, added up."""
    columns = [[result[name] for name in COUNTS] for result in results]
    return [sum(column) for column in zip(*columns, strict=True)] if columns else [0] * len(COUNTS)


def _cells(counts: Sequence[int]) -> Sequence[object]:
    """COUNTS for whoever looks, as they are for a pipe."""
    return _texts(counts) if render.out.is_terminal else counts


def _texts(counts: Sequence[int]) -> list[str]:
    """COUNTS as people read them; the last is money."""
    return [*(f"{count:,}" for count in counts[:-1]), render.dollars(counts[-1])]
