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
    if not errors["quotes"]:
        return "No quote has come to its end yet."
    cost, finish, cost_p90, finish_p90 = (
        _share(errors[name]) or "-" for name in ("cost_median", "finish_median", "cost_p90", "finish_p90")
    )
    return (
        f"Of {errors['quotes']} quotes that came to their end, half were off by at most {cost} in price and "
        f"{finish} in finish time, nine in ten by {cost_p90} and {finish_p90}."
    )


def _dollars(micros: int | None) -> str | None:
    return None if micros is None else render.dollars(micros)


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else render.duration(seconds)


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"
