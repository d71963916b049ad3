"""Keys: shown once, ended at once, and never worth more than the key that made them."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlmodel import select

from orchestrator import clock
from orchestrator.audit.model import AuditEntry
from orchestrator.database.pages import PageRequest
from orchestrator.database.session import Database
from orchestrator.errors import Invalid, NotEntitled, NotFound, Unauthenticated
from orchestrator.organizations import keys, projects
from orchestrator.organizations import service as organizations
from orchestrator.organizations.authentication import authenticate
from orchestrator.organizations.model import ApiKey, Project, Role
from orchestrator.organizations.scopes import Scope
from tests.orchestrator.organizations.bearers import make_bearer


def make_key(database: Database, role: Role = Role.OWNER) -> tuple[ApiKey, str, str]:
    """A key's row, the key, and its organization's id."""
    with database.transaction() as tx:
        organization = organizations.create(tx, name="Acme", tier="free")
        project = projects.get(tx, organization.id, None)
        key, secret = keys.create(tx, project_id=project.id, name="laptop", role=role)
    return key, secret, organization.id


def test_a_key_says_who_its_bearer_is(database: Database):
    key, secret, organization_id = make_key(database, Role.OPERATOR)
    with database.transaction() as tx:
        principal = authenticate(tx, secret)
        organizations.set_tier(tx, organization_id=organization_id, tier="enterprise")
    assert (principal.organization_id, principal.project_id) == (organization_id, key.project_id)
    assert (principal.key_id, principal.tier, principal.role) == (key.id, "free", Role.OPERATOR)
    with database.transaction() as tx:
        assert authenticate(tx, secret).tier == "enterprise"


def test_a_key_is_nowhere_in_the_database_but_for_its_end(database: Database):
    key, secret, _ = make_key(database)
    assert re.fullmatch(r"yard_sk_[A-Za-z0-9_-]{43}", secret)
    assert key.hint == secret[-4:]
    with database.read() as tx:
        for table in ("api_key", "audit_entry"):
            rows = tx.execute(text(f"SELECT json_agg({table})::text FROM {table}")).scalar_one()
            assert key.id in rows
            assert secret.removeprefix("yard_sk_") not in rows


@pytest.mark.parametrize("secret", ["", "yard_sk_", "yard_sk_" + "x" * 43, "ключ", "\0"])
def test_a_key_that_was_never_made_is_refused(database: Database, secret: str):
    make_key(database)
    with pytest.raises(Unauthenticated, match="Incorrect API key"), database.transaction() as tx:
        authenticate(tx, secret)


def test_a_revoked_key_is_refused_from_then_on(database: Database):
    key, secret, _ = make_key(database)
    with database.transaction() as tx:
        bearer = authenticate(tx, secret)
        revoked_at = keys.revoke(tx, bearer, tx.get_one(ApiKey, key.id)).revoked_at
    with pytest.raises(Unauthenticated, match="was revoked on"), database.transaction() as tx:
        authenticate(tx, secret)
    with database.transaction() as tx:
        again = keys.revoke(tx, bearer, tx.get_one(ApiKey, key.id))
        assert again.revoked_at == revoked_at
        told = tx.exec(select(AuditEntry.action).where(AuditEntry.subject_id == key.id)).all()
    assert sorted(told) == ["api_key.created", "api_key.deleted"]


def test_an_expired_key_is_refused_and_says_when_it_expired(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    with database.transaction() as tx:
        owner = make_bearer(tx)
        ends = clock.now() + timedelta(hours=1)
        project = tx.get_one(Project, owner.project_id)
        how = {"name": "brief", "role": Role.READER, "scopes": None}
        _, secret = keys.grant(tx, owner, project, **how, expires_at=ends)
        authenticate(tx, secret)
        monkeypatch.setattr(clock, "now", lambda: ends)
        with pytest.raises(Unauthenticated, match=f"expired {clock.said(ends)}"):
            authenticate(tx, secret)
        with pytest.raises(Invalid, match="in the future"):
            keys.grant(tx, owner, project, **how, expires_at=ends)


def test_nobody_finds_a_key_of_another_organization(database: Database):
    key, _, organization_id = make_key(database)
    _, _, other_id = make_key(database)
    with database.transaction() as tx:
        with pytest.raises(NotFound):
            keys.get(tx, key.id, organization_id=other_id)
        found = keys.list_page(tx, PageRequest(10), organization_id=organization_id)
    assert [row.id for row in found.rows] == [key.id]


def test_use_of_a_key_is_noted_at_most_once_a_minute(database: Database, monkeypatch: pytest.MonkeyPatch):
    key, secret, _ = make_key(database)
    began = clock.now()
    noted = []
    for seconds in (0, 59, 61, 119, 122):
        at = began + timedelta(seconds=seconds)
        monkeypatch.setattr(clock, "now", lambda at=at: at)
        with database.transaction() as tx:
            authenticate(tx, secret)
        with database.read() as tx:
            noted.append((tx.get_one(ApiKey, key.id).last_used_at - began).total_seconds())
    assert noted == [0, 0, 61, 61, 122]


@pytest.mark.parametrize(
    ("has", "role", "scopes", "lacks"),
    [
        ((Role.DEVELOPER, None), Role.OWNER, None, "above this key's own"),
        ((Role.OWNER, None), Role.OPERATOR, [Scope.FILES_READ], "above this key's own"),
        ((Role.OWNER, [Scope.KEYS_WRITE]), Role.READER, None, "scope 'batches:read'"),
        ((Role.OWNER, [Scope.KEYS_WRITE, Scope.FILES_READ]), Role.OWNER, [Scope.FILES_WRITE], "files:write"),
        ((Role.OWNER, [Scope.KEYS_WRITE, Scope.FILES_READ]), Role.OWNER, [Scope.FILES_READ], None),
        ((Role.DEVELOPER, None), Role.DEVELOPER, None, None),
    ],
)
def test_nobody_grants_more_than_they_have(database: Database, has, role, scopes, lacks):
    with database.transaction() as tx:
        caller = make_bearer(tx, has[0], scopes=has[1])
        project = tx.get_one(Project, caller.project_id)
        how = {"name": "more", "role": role, "scopes": scopes, "expires_at": None}
        if lacks is None:
            key, _ = keys.grant(tx, caller, project, **how)
            assert (key.role, key.scopes) == (role, scopes)
        else:
            with pytest.raises(NotEntitled, match=lacks):
                keys.grant(tx, caller, project, **how)


def test_a_narrowed_key_does_not_keep_a_stronger_one_alive(database: Database):
    with database.transaction() as tx:
        whole = make_bearer(tx, email="a@acme.test")
        narrow = replace(whole, scopes=frozenset({Scope.KEYS_WRITE}))
        key = tx.get_one(ApiKey, whole.key_id)
        with pytest.raises(NotEntitled, match="which this key lacks"):
            keys.change(tx, narrow, key, scopes=None, expires_at=clock.now() + timedelta(days=999))


def test_a_project_s_own_key_makes_no_key_of_another_project(database: Database):
    with database.transaction() as tx:
        owner = make_bearer(tx)
        here = organizations.get(tx, owner.organization_id)
        other = projects.create(tx, organization_id=here.id, name="without limits")
        service = make_bearer(tx, Role.DEVELOPER, organization=here)
        person = make_bearer(tx, Role.DEVELOPER, organization=here, email="a@acme.test")
        how = {"name": "n", "role": Role.DEVELOPER, "scopes": None, "expires_at": None}
        with pytest.raises(NotEntitled, match="organization:write"):
            keys.grant(tx, service, other, **how)
        for whoever in (person, owner):
            assert keys.grant(tx, whoever, other, **how)


def test_a_developer_ends_only_their_own_keys_and_an_owner_everybody_s(database: Database):
    with database.transaction() as tx:
        owner = make_bearer(tx)
        here = organizations.get(tx, owner.organization_id)
        one, other = (
            make_bearer(tx, Role.DEVELOPER, organization=here, email=f"{name}@acme.test") for name in "ab"
        )
        theirs, own = tx.get_one(ApiKey, other.key_id), tx.get_one(ApiKey, one.key_id)
        with pytest.raises(NotEntitled, match="Missing scope: organization:write"):
            keys.revoke(tx, one, theirs)
        with pytest.raises(NotEntitled):
            keys.change(tx, one, theirs, scopes=[Scope.FILES_READ], expires_at=None)
        assert keys.change(tx, one, own, scopes=[Scope.FILES_READ], expires_at=None).scopes == ["files:read"]
        assert keys.revoke(tx, owner, theirs).revoked_at is not None


def test_a_scope_that_the_role_lacks_is_no_scope_of_the_key(database: Database):
    with database.transaction() as tx:
        owner = make_bearer(tx)
        project = tx.get_one(Project, owner.project_id)
        with pytest.raises(Invalid, match="'reader' does not have the scope 'files:write'"):
            keys.grant(
                tx,
                owner,
                project,
                name="r",
                role=Role.READER,
                scopes=[Scope.FILES_WRITE],
                expires_at=None,
            )
