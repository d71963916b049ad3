"""`yard usage` and `yard invoice`."""

from typing import Any

import pytest
from rich.console import Console

from api.cli import render
from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi

DAY = 86_400
FIRST = 1_790_035_200  # 2026-09-22, midnight


def part(model: str | None, cost_micros: int, *, lines: int = 2) -> dict[str, Any]:
    counts = {"input_tokens": 1_000 * lines, "cached_tokens": 100, "output_tokens": 50, "trained_tokens": 0}
    of = {"project_id": None, "model": model, "kind": None}
    return of | counts | {"lines": lines, "cost_micros": cost_micros, "currency": "usd"}


def page(*days: list[dict[str, Any]]) -> dict[str, Any]:
    buckets = [
        {
            "object": "bucket",
            "start_time": FIRST + n * DAY,
            "end_time": FIRST + (n + 1) * DAY,
            "results": results,
        }
        for n, results in enumerate(days)
    ]
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None}


def test_usage_is_listed_by_day_for_a_pipe(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/usage", page([part(None, 41)], []))
    shown = yard("usage", "--days", 2)
    assert shown.output == "2026-09-22\t2\t2000\t100\t50\t0\t41\n2026-09-23\t0\t0\t0\t0\t0\t0\n"
    assert api.asked[0].query["limit"] == "2"
    assert int(api.asked[0].query["start_time"]) % DAY == 0


def test_usage_is_plotted_by_day_for_a_person(
    yard: Yard, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        render, "out", Console(force_terminal=True, no_color=True, width=120, highlight=False)
    )
    api.on("GET /v1/usage", page([part(None, 1_000_000)], [part(None, 500_000)], []))
    half, whole = (yard("usage", "--days", 3).output.splitlines()[n].count("█") for n in (2, 1))
    assert (half, whole) == (12, 24)


def test_usage_is_added_up_by_what_is_asked_for(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/usage", page([part("small", 5)], [part("small", 6), part("large", 900)]))
    shown = yard("usage", "--by", "model").output
    assert shown == "large\t2\t2000\t100\t50\t0\t900\nsmall\t4\t4000\t200\t100\t0\t11\n"
    assert api.asked[0].query["group_by"] == "model"


def test_usage_and_invoices_come_as_files(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/usage", b"start,cost\r\n")
    api.on("GET /v1/invoices/2026-10", b"<!doctype html>")
    assert yard("usage", "--csv", "--by", "kind").stdout_bytes == b"start,cost\r\n"
    assert yard("invoice", "2026-10", "--html").output == "<!doctype html>"
    assert [asked.query.get("format") for asked in api.asked] == ["csv", "html"]


def test_an_invoice_is_shown_and_months_are_listed(yard: Yard, api: ScriptedApi) -> None:
    line = part("small", 2_500_000) | {"project": "default", "kind": "batch"}
    month = {"id": "2026-10", "number": "org_1-2026-10", "status": "final", "total_micros": 2_500_000}
    api.on("GET /v1/invoices/2026-10", month | {"organization": "Acme", "lines": [line]})
    api.on("GET /v1/invoices", {"data": [month], "has_more": False})
    shown = yard("invoice", "2026-10").output
    assert "org_1-2026-10" in shown
    assert "default\tbatch\tsmall\t2\t2000\t100\t50\t0\t2500000" in shown
    assert yard("invoice", "--list").output == "2026-10\tfinal\t$2.500000\n"
