"""`yard limits`: what your plan allows, and how much of it is used."""

from typing import Annotated

import typer
from rich.bar import Bar
from rich.table import Table

from api.cli import render
from api.cli.client import Document, connect

BAR_CHARACTERS = 16


def limits(json: Annotated[bool, typer.Option("--json", help="The API's own answer.")] = False) -> None:
    """Show every limit that is in force for you, how much of it is used, and when it is free again."""
    with connect() as yard:
        found = yard.get("/limits")
    if json:
        render.show_json(found)
        return
    support = found["support_contact"] or found["support"]
    render.err.print(f"{found['tier']} plan, support: {support}", soft_wrap=True)
    if not render.out.is_terminal:
        render.table((), (_cells(limit) for limit in found["data"]))
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("LIMIT", no_wrap=True)  # a narrow terminal cuts whatever else
    for column in ("OF", "MODEL", "USED", "ALLOWED", "FREE AGAIN"):
        table.add_column(column, justify="right" if column in ("USED", "ALLOWED") else "left")
    table.add_column("")
    for limit in found["data"]:
        table.add_row(*(cell or "" for cell in _cells(limit)), _bar(limit))
    render.out.print(table)


def _cells(limit: Document) -> tuple[str | None, ...]:
    return (
        limit["name"],
        limit["source"],
        limit["model"],
        None if limit["used"] is None else f"{limit['used']:,}",
        "any" if limit["limit"] is None else f"{limit['limit']:,}",
        render.moment(limit["resets_at"]) if limit["used"] else None,
    )


def _bar(limit: Document) -> Bar | str:
    if limit["limit"] is None or limit["used"] is None:
        return ""
    return Bar(max(limit["limit"], 1), 0, limit["used"], width=BAR_CHARACTERS)
