"""`yard limits`."""

import pytest
from rich.console import Console

from api.cli import render
from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi


def test_every_limit_is_a_row_with_its_use(
    yard: Yard, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = {"name": "requests_per_day", "source": "tier", "model": "tiny", "limit": 1_000, "used": 250}
    whole = limit | {"resets_at": 1_795_500_000}
    size = limit | {"name": "file_bytes_max", "model": None, "limit": None, "used": None, "resets_at": None}
    plan = {"tier": "free", "support": "Community", "support_contact": None}
    api.on("GET /v1/limits", plan | {"data": [whole, size]})
    shown = yard("limits")
    assert "free plan, support: Community" in shown.stderr
    rows = [line.split("\t")[:5] for line in shown.stdout.splitlines()]
    assert rows == [
        ["requests_per_day", "tier", "tiny", "250", "1,000"],
        ["file_bytes_max", "tier", "-", "-", "any"],
    ]
    monkeypatch.setattr(render, "out", Console(force_terminal=True, no_color=True, width=90))
    drawn = yard("limits").stdout
    assert "requests_per_day" in drawn
    assert "███" in drawn
