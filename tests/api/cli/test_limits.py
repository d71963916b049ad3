"""`yard limits`."""

from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi


def test_every_limit_is_a_row_with_its_use(yard: Yard, api: ScriptedApi) -> None:
    limit = {"name": "requests_per_day", "source": "tier", "model": "tiny", "limit": 1_000, "used": 250}
    whole = limit | {"resets_at": 1_795_500_000}
    size = limit | {"name": "file_bytes_max", "model": None, "limit": None, "used": None, "resets_at": None}
    plan = {"tier": "free", "support": "Community", "support_contact": None}
    api.on("GET /v1/limits", plan | {"data": [whole, size]})
    said = yard("limits").output
    assert "free plan, support: Community" in said
    for shown in ("requests_per_day", "tiny", "250", "████", "1,000", "file_bytes_max", "any"):
        assert shown in said
