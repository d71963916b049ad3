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
    plan = {"title": "Developer", "support": "Chat", "support_contact": "ada@example.com"}
    reserved = [{"model": "small", "engines": 0, "share": 0.25}]
    shown = {"project_id": "proj_1", "plan": plan, "key": key, "reserved": reserved}
    api.on("GET /v1/organization", ORGANIZATION | shown)
    told = yard("org", "show").stdout
    assert "Search (org_1)" in told
    assert "files:read, usage:read" in told
    assert "ada@example.com" in told
    assert "25% of small" in told


def test_a_contract_changes_what_is_named_and_nothing_else(yard: Yard, api: ScriptedApi) -> None:
    contract = {"limits": {"concurrent_batches": 9}, "priority": -2, "support_contact": None}
    api.on("POST /v1/organizations/org_1/limits", {"limits": contract["limits"]})
    api.on("POST /v1/organizations/org_1", ORGANIZATION | contract)
    limits = ["--limit", "concurrent_batches=9", "--limit", "queued_tokens_max=none"]
    told = yard("org", "contract", "org_1", *limits, "--priority", -2).stdout
    assert "-2" in told
    assert [asked.json() for asked in api.asked] == [
        {"limits": {"concurrent_batches": 9, "queued_tokens_max": None}},
        {"priority": -2},
    ]


def test_a_contract_is_shown_where_nothing_is_to_be_changed(yard: Yard, api: ScriptedApi) -> None:
    contract = {"limits": {"tokens_per_day": None}, "priority": 0, "support_contact": "ada@example.com"}
    api.on("GET /v1/organizations/org_1", ORGANIZATION | contract)
    told = yard("org", "contract", "org_1").stdout
    assert "ada@example.com" in told
    assert "tokens_per_day  any" in told


def test_a_limit_that_is_no_number_is_refused_before_anything_is_sent(yard: Yard, api: ScriptedApi) -> None:
    refused = yard("project", "limit", "proj_1", "--limit", "concurrent_batches=many")
    assert "write NAME=NUMBER" in " ".join(refused.stderr.split())
    assert api.asked == []
