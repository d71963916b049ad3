from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi

MADE = 1_790_000_000
KEYS = "/v1/organization/projects/proj_1/api_keys"
KEY = {
    "id": "key_1",
    "hint": "abcd",
    "role": "developer",
    "scopes": ["files:read"],
    "name": "ci",
    "owner": {"user": {"email": "ada@acme.test"}},
    "created_at": MADE,
    "last_used_at": None,
    "expires_at": None,
    "revoked_at": None,
}


def test_a_new_key_is_all_that_is_printed(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/organization", {"project_id": "proj_1"})
    api.on(f"POST {KEYS}", {"id": "key_1", "key": "sk-secret"})
    made = yard("key", "create", "--name", "ci", "--scope", "files:read", "--days", "2", "--service")
    assert made.stdout == "sk-secret\n"
    assert api.asked[-1].json() == {
        "name": "ci",
        "scopes": ["files:read"],
        "expires_in_seconds": 2 * 86_400,
        "service": True,
    }


def test_an_operator_makes_keys_for_an_organization(yard: Yard, api: ScriptedApi) -> None:
    api.on("POST /v1/organizations/org_1/api_keys", {"id": "key_1", "key": "sk-secret"})
    words = ("--org", "org_1", "--project", "proj_2", "--role", "reader")
    assert yard("key", "create", *words).stdout == "sk-secret\n"
    assert api.asked[0].json() == {"name": "key", "role": "reader", "project_id": "proj_2"}


def test_keys_are_listed_by_their_hints_and_revoked(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/organizations/org_1/api_keys", {"data": [KEY]})
    row = yard("key", "list", "--org", "org_1").stdout.strip().split("\t")
    assert row == ["key_1", "abcd", "developer", "files:read", "ada@acme.test", "-", "-", "-", "ci"]
    api.on(f"DELETE {KEYS}/key_1", {"id": "key_1", "deleted": True})
    assert yard("key", "revoke", "key_1", "--project", "proj_1").stdout == "revoked key_1\n"


def test_somebody_is_invited_and_joins_without_a_key(yard: Yard, api: ScriptedApi) -> None:
    api.on("POST /v1/organization/invites", {"id": "invite-1", "token": "yard_invite_x"})
    assert yard("invite", "send", "ada@acme.test", "--days", "1").stdout == "yard_invite_x\n"
    assert api.asked[0].json() == {
        "email": "ada@acme.test",
        "role": "developer",
        "expires_in_seconds": 86_400,
    }
    api.on("POST /v1/organization/invites/accept", {"api_key": {"key": "sk-ada"}})
    assert yard("invite", "accept", "yard_invite_x", "--name", "Ada").stdout == "sk-ada\n"
    assert api.asked[1].json() == {"token": "yard_invite_x", "name": "Ada"}


def test_members_and_invitations_are_listed_changed_and_ended(yard: Yard, api: ScriptedApi) -> None:
    member = {"id": "user-1", "role": "owner", "email": "a@b.test", "name": "Ada"}
    moments = {"added_at": MADE, "api_key_last_used_at": None}
    api.on("GET /v1/organization/users", {"data": [member | moments], "has_more": False})
    assert yard("member", "list").stdout.startswith("user-1\towner\ta@b.test\t")
    api.on("POST /v1/organization/users/user-1", member | {"role": "reader"})
    assert yard("member", "role", "user-1", "reader").stdout == "a@b.test is reader now\n"
    api.on("DELETE /v1/organization/users/user-1", {"deleted": True})
    assert yard("member", "remove", "user-1").stdout == "removed user-1\n"
    invite = {"id": "invite-1", "status": "pending", "role": "reader", "email": "b@b.test"}
    times = {"created_at": MADE, "expires_at": MADE}
    api.on("GET /v1/organization/invites", {"data": [invite | times], "has_more": False})
    assert yard("invite", "list").stdout.startswith("invite-1\tpending\treader\t")
    api.on("DELETE /v1/organization/invites/invite-1", {"deleted": True})
    assert yard("invite", "revoke", "invite-1").stdout == "revoked invite-1\n"


def test_projects_are_made_renamed_archived_and_listed(yard: Yard, api: ScriptedApi) -> None:
    project = {"id": "proj_2", "name": "night", "status": "active", "created_at": MADE, "archived_at": None}
    path = "/v1/organization/projects"
    api.on(f"POST {path}", project)
    assert yard("project", "create", "night").stdout == "proj_2\n"
    api.on(f"POST {path}/proj_2", project | {"name": "day"})
    assert yard("project", "rename", "proj_2", "day").stdout == "proj_2 is called day now\n"
    api.on(f"POST {path}/proj_2/archive", project)
    assert yard("project", "archive", "proj_2").stdout == "archived night\n"
    api.on(f"GET {path}", {"data": [project], "has_more": False})
    assert yard("project", "list", "--all").stdout.startswith("proj_2\tactive\t")
    assert api.asked[-1].query["include_archived"] == "true"


def test_the_audit_log_is_shown_by_person_and_kind(yard: Yard, api: ScriptedApi) -> None:
    actor = {"by": "organization", "api_key": {"id": "key_1", "user": {"email": "a@b.test"}}}
    entry = {"effective_at": MADE, "type": "project.updated", "actor": actor, "resource_id": "proj_1"}
    change = {"before": {"name": "a"}, "after": {"name": "b"}}
    told = {"actor": {"by": "operator", "api_key": {"id": "key_9"}}, "type": "tier.updated"}
    entries = [entry | change, entry | change | told]
    api.on("GET /v1/organization/audit_logs", {"data": entries, "has_more": False})
    lines = yard("audit", "--actor", "a@b.test", "--event", "project.updated").stdout.splitlines()
    assert lines[0].split("\t")[1:] == [
        "project.updated",
        "a@b.test",
        "proj_1",
        '{"name": "a"}',
        '{"name": "b"}',
    ]
    assert lines[1].split("\t")[1:3] == ["tier.updated", "the operator"]
    assert api.asked[0].query["actor_emails[]"] == "a@b.test"
