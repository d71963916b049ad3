"""`yard quotes`."""

from typing import Any

from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi

OPEN = {
    "id": "quote_2",
    "file_id": "file-2",
    "batch_id": None,
    "created_at": 1_790_000_000,
    "quoted": {"expected_cost_micros": 100, "finish_p50_seconds": None},
    "actual": None,
    "cost_error": None,
    "finish_error": None,
}
CAME = OPEN | {
    "id": "quote_1",
    "batch_id": "batch_1",
    "quoted": {"expected_cost_micros": 2_000_000, "finish_p50_seconds": 61.0},
    "actual": {"cost_micros": 1_600_000, "finish_seconds": 50.0},
    "cost_error": 0.25,
    "finish_error": 0.22,
}
NONE = {"quotes": 0, "cost_median": None, "cost_p90": None, "finish_median": None, "finish_p90": None}


def page(*quotes: dict[str, Any], **errors: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(quotes), "has_more": False, "errors": NONE | errors}


def test_what_was_promised_stands_beside_what_came(yard: Yard, api: ScriptedApi) -> None:
    errors = {"quotes": 1, "cost_median": 0.25, "cost_p90": 0.25, "finish_median": 0.22, "finish_p90": 0.22}
    api.on("GET /v1/usage/quotes", page(OPEN, CAME, **errors))
    shown = yard("quotes")
    rows = [line.split("\t")[1:] for line in shown.stdout.splitlines()]
    assert rows == [
        ["file-2", "$0.000100", "-", "-", "-", "-", "-"],
        ["batch_1", "$2.000000", "$1.600000", "25%", "1 min 01 s", "50 s", "22%"],
    ]
    assert " ".join(shown.stderr.split()) == (
        "Quotes that came to their end: 1. price: half off by at most 25%, nine in ten by 25%; "
        "finish time: half off by at most 22%, nine in ten by 22%"
    )


def test_quotes_without_an_end_say_so(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/usage/quotes", page(OPEN))
    assert "Quotes that came to their end: 0." in yard("quotes").stderr
