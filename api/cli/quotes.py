"""`yard quotes`: what was promised before each batch, beside what came."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import Document, connect


def quotes(
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    json: Annotated[bool, typer.Option("--json", help="The API's own answer.")] = False,
) -> None:
    """Show your latest quotes, newest first: price and finish as promised and as they came, and how far off
    quotes are in general.

    ```
    yard quotes --limit 50
    ```
    """
    with connect() as yard:
        found = yard.items("/usage/quotes", limit=limit)
        errors = yard.get("/usage/quotes", limit=1)["errors"]
    if json:
        render.show_json({"data": found, "errors": errors})
        return
    render.table(
        ("GIVEN", "FOR", "PRICE", "CAME TO", "OFF", "FINISH IN", "CAME IN", "OFF"),
        (
            (
                render.moment(quote["created_at"]),
                quote["batch_id"] or quote["file_id"],
                _dollars(quote["quoted"].get("expected_cost_micros")),
                _dollars((quote["actual"] or {}).get("cost_micros")),
                _share(quote["cost_error"]),
                _duration(quote["quoted"].get("finish_p50_seconds")),
                _duration((quote["actual"] or {}).get("finish_seconds")),
                _share(quote["finish_error"]),
            )
            for quote in found
        ),
    )
    render.err.print(_summary(errors), style="dim")


def _summary(errors: Document) -> str:
    """How far off quotes were, as far as that can be said: what was free has no error, nor has a finish
    where nobody had seen such a batch before."""
    known = [
        f"{what}: half off by at most {_share(median)}, nine in ten by {_share(p90)}"
        for what, median, p90 in (
            ("price", errors["cost_median"], errors["cost_p90"]),
            ("finish time", errors["finish_median"], errors["finish_p90"]),
        )
        if median is not None
    ]
    return f"Quotes that came to their end: {errors['quotes']}. " + "; ".join(known)


def _dollars(micros: int | None) -> str | None:
    return None if micros is None else render.dollars(micros)


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else render.duration(seconds)


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"
