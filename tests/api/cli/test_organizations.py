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


def test_a_new_key_is_all_that_is_printed(yard: Yard, api: ScriptedApi) -> None:
    api.on("POST /v1/organizations/org_1/api_keys", {"id": "key_1", "key": "sk-secret"})
    assert yard("key", "create", "org_1", "--name", "ci").stdout == "sk-secret\n"
    assert api.asked[0].json() == {"name": "ci", "role": "owner"}


def test_keys_are_listed_by_their_hints(yard: Yard, api: ScriptedApi) -> None:
    key = {"id": "key_1", "hint": "…abcd", "role": "owner", "name": "ci"}
    moments = {"created_at": 1_790_000_000, "last_used_at": None, "revoked_at": None}
    api.on("GET /v1/organizations/org_1/api_keys", {"data": [key | moments]})
    row = yard("key", "list", "org_1").stdout.strip().split("\t")
    assert row[:3] == ["key_1", "…abcd", "owner"]
    assert row[4:] == ["-", "-", "ci"]


def test_a_key_is_revoked(yard: Yard, api: ScriptedApi) -> None:
    api.on("DELETE /v1/organizations/org_1/api_keys/key_1", {"id": "key_1", "deleted": True})
    assert yard("key", "revoke", "org_1", "key_1").stdout == "revoked key_1\n"
