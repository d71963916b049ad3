from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi

ORGANIZATION = {"id": "org_1", "name": "Search", "tier": "developer", "created_at": 1_790_000_000}


def test_an_organization_is_made_in_a_tier(yard: Yard, api: ScriptedApi) -> None:
    api.on("POST /v1/organizations", ORGANIZATION)
    assert yard("org", "create", "Search", "--tier", "developer").stdout == "org_1\n"
    assert api.asked[0].json() == {"name": "Search", "tier": "developer"}


def test_an_organization_moves_to_another_tier(yard: Yard, api: ScriptedApi) -> None:
    api.on("POST /v1/organizations/org_1", ORGANIZATION | {"tier": "enterprise"})
    result = yard("org", "set-tier", "org_1", "enterprise")
    assert result.stdout == "Search is in tier enterprise now\n"
    assert api.asked[0].json() == {"tier": "enterprise"}


def test_your_organization_says_what_your_key_may_do(yard: Yard, api: ScriptedApi) -> None:
    key = {"id": "key_1", "role": "reader", "scopes": ["files:read", "usage:read"]}
    shown = {"project_id": "proj_1", "plan": {"title": "Developer"}, "key": key}
    api.on("GET /v1/organization", ORGANIZATION | shown)
    told = yard("org", "show").stdout
    assert "Search (org_1)" in told
    assert "files:read, usage:read" in told
