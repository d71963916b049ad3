"""People, projects, keys and the audit log through OpenAI's administration client, over a socket."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import openai
import pytest
from openai import OpenAI

from orchestrator.organizations.authentication import authenticate
from tests.contracts.conftest import ServedYard

pytestmark = pytest.mark.server


@contextmanager
def client_of(yard: ServedYard, key: str) -> Iterator[OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False)
    with OpenAI(base_url=f"{yard.url}/v1", api_key=key, admin_api_key=key, http_client=http) as client:
        yield client


@pytest.fixture
def client(yard: ServedYard) -> Iterator[OpenAI]:
    with client_of(yard, yard.key) as client:
        yield client


def join(client: OpenAI, email: str, role: str, name: str = "Somebody") -> tuple[str, str]:
    """A new member's id and key."""
    invite = client.admin.organization.invites.create(email=email, role=role)
    body = {"token": invite.token, "name": name}
    joined = client.post("/organization/invites/accept", body=body, cast_to=object)
    return joined["user"]["id"], joined["api_key"]["key"]


def test_invitations_are_sent_listed_accepted_and_withdrawn(client):
    invites = client.admin.organization.invites
    sent = invites.create(email="ada@acme.test", role="reader")
    assert (sent.object, sent.status, sent.projects) == ("organization.invite", "pending", [])
    assert sent.expires_at - sent.created_at == 7 * 86_400
    again = invites.retrieve(sent.id)
    assert (again.email, again.token) == ("ada@acme.test", None)
    _, key = join(client, "eve@acme.test", "owner")
    assert sorted((i.email, i.status) for i in invites.list(limit=1)) == [
        ("ada@acme.test", "pending"),
        ("eve@acme.test", "accepted"),
    ]
    assert invites.delete(sent.id).object == "organization.invite.deleted"
    with pytest.raises(openai.NotFoundError):
        invites.retrieve(sent.id)
    body = {"token": sent.token, "name": "Ada"}
    with pytest.raises(openai.ConflictError, match="was withdrawn"):
        client.post("/organization/invites/accept", body=body, cast_to=object)
    assert key.startswith("yard_sk_")


def test_members_are_listed_promoted_and_removed_with_their_keys(client, yard):
    users = client.admin.organization.users
    first, first_key = join(client, "first@acme.test", "owner", "First")
    second, second_key = join(client, "second@acme.test", "reader", "Second")
    assert sorted(user.name for user in users.list(limit=1)) == ["First", "Second"]
    assert [user.id for user in users.list(emails=["Second@acme.test"])] == [second]
    with client_of(yard, second_key) as reader:
        assert reader.models.list().data
        with pytest.raises(openai.PermissionDeniedError, match="Missing scope: organization:write"):
            reader.admin.organization.users.update(second, role="owner")
        assert users.update(second, role="developer").role == "developer"
        assert users.retrieve(second).api_key_last_used_at is not None
        assert users.delete(second).object == "organization.user.deleted"
        with pytest.raises(openai.AuthenticationError, match="was revoked"):
            reader.models.list()
    with pytest.raises(openai.ConflictError, match="is the last owner"):
        users.delete(first)
    with client_of(yard, first_key) as owner, pytest.raises(openai.NotFoundError):
        owner.admin.organization.users.retrieve(second)


def test_projects_are_made_renamed_listed_and_archived(client, yard, enterprise_yard):
    projects = client.admin.organization.projects
    made = projects.create(name="night")
    assert (made.object, made.status, made.archived_at) == ("organization.project", "active", None)
    assert projects.update(made.id, name="day").name == "day"
    assert [project.name for project in projects.list(limit=1)] == ["day", "default"]
    path = f"/organization/projects/{made.id}/api_keys"
    key = client.post(path, body={"name": "ci"}, cast_to=object)["key"]
    archived = projects.archive(made.id)
    assert (archived.status, projects.retrieve(made.id).archived_at) == ("archived", archived.archived_at)
    with client_of(yard, key) as late, pytest.raises(openai.AuthenticationError, match="was archived on"):
        late.models.list()
    assert [project.name for project in projects.list()] == ["default"]
    assert len(projects.list(include_archived=True).data) == 2
    with client_of(yard, enterprise_yard.key) as stranger, pytest.raises(openai.NotFoundError):
        stranger.admin.organization.projects.retrieve(made.id)


def test_keys_carry_scopes_end_and_are_revoked(client, yard):
    with yard.database.transaction() as tx:
        project_id = authenticate(tx, yard.key).project_id
    keys = client.admin.organization.projects.api_keys
    ends = int(time.time()) + 3_600
    body = {"name": "ci", "role": "developer", "scopes": ["files:read", "batches:read"], "expires_at": ends}
    path = f"/organization/projects/{project_id}/api_keys"
    made = client.post(path, body=body, cast_to=object)
    with client_of(yard, made["key"]) as narrow:
        assert narrow.batches.list().data == []
        with pytest.raises(openai.PermissionDeniedError, match="its scopes leave it out") as refused:
            narrow.files.create(file=("in.jsonl", b"{}"), purpose="batch")
        assert "files:write" in refused.value.body["message"]
        with pytest.raises(openai.PermissionDeniedError):
            narrow.post(path, body={"name": "more"}, cast_to=object)
        seen = keys.retrieve(made["id"], project_id=project_id)
        assert (seen.expires_at, seen.owner.type) == (ends, "service_account")
        assert seen.redacted_value == f"yard_sk_…{made['key'][-4:]}"
        assert made["key"] not in keys.list(project_id).to_json()
        changed = keys.update(made["id"], project_id=project_id, scopes=["models:read"])
        assert (changed.scopes, changed.expires_at) == (["models:read"], ends)
        assert narrow.models.list().data
        deleted = keys.delete(made["id"], project_id=project_id)
        assert deleted.object == "organization.project.api_key.deleted"
        with pytest.raises(openai.AuthenticationError):
            narrow.models.list()
    assert made["id"] not in [key.id for key in keys.list(project_id)]
    for wrong in ({"role": "operator"}, {"scopes": ["files:eat"]}, {"expires_at": ends - 7_200}):
        with pytest.raises(openai.BadRequestError):
            client.post(path, body={"name": "x"} | wrong, cast_to=object)


def test_admin_keys_are_the_owners_keys(client, yard):
    keys = client.admin.organization.admin_api_keys
    made = keys.create(name="terraform", expires_in_seconds=600)
    with client_of(yard, made.value) as admin:
        assert [key.name for key in admin.admin.organization.admin_api_keys.list(order="asc")] == [
            "sdk",
            "terraform",
        ]
    assert keys.retrieve(made.id).owner.role == "owner"
    assert keys.delete(made.id).object == "organization.admin_api_key.deleted"


def test_the_audit_log_tells_who_changed_what(client, yard):
    logs = client.admin.organization.audit_logs
    member, key = join(client, "ada@acme.test", "owner")
    with client_of(yard, key) as ada:
        project = ada.admin.organization.projects.create(name="night")
        ada.admin.organization.projects.update(project.id, name="day")
        ada.admin.organization.spend_limit.update(threshold_amount=5, currency="USD", interval="month")
    types = [entry.type for entry in logs.list(limit=2)]
    assert types[:3] == ["spend_limit.updated", "project.updated", "project.created"]
    assert {"invite.sent", "invite.accepted", "user.added", "api_key.created"} <= set(types)
    found = list(logs.list(event_types=["project.updated"], actor_ids=[member], resource_ids=[project.id]))
    assert len(found) == 1
    assert found[0].actor.api_key.user.email == "ada@acme.test"
    assert found[0].project_updated.changes_requested.title == "day"
    assert (found[0].before, found[0].after) == ({"name": "night"}, {"name": "day"})
    assert len(list(logs.list(actor_emails=["ada@acme.test"]))) == 4
    at = found[0].effective_at
    assert found[0].id in [entry.id for entry in logs.list(effective_at={"gte": at, "lte": at})]
    assert not list(logs.list(effective_at={"gt": at + 3_600}))
    assert key not in logs.list(limit=100).to_json()
