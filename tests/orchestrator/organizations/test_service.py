"""Who may ask: organizations, their projects, and keys that are shown once."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import text

from orchestrator import clock
from orchestrator.database.pages import PageRequest
from orchestrator.database.session import Database
from orchestrator.errors import Conflict, Invalid, NotFound, Unauthenticated
from orchestrator.organizations import service as organizations
from orchestrator.organizations.model import ApiKey, Role


def make_key(database: Database, role: Role = Role.OWNER) -> tuple[ApiKey, str, str]:
    """A key's row, the key, and its organization's id."""
    with database.transaction() as tx:
        organization = organizations.create(tx, name="Acme", tier="free")
        project = organizations.project_of(tx, organization.id, None)
        key, secret = organizations.create_key(tx, project_id=project.id, name="laptop", role=role)
    return key, secret, organization.id


def test_a_key_says_who_its_bearer_is(database: Database):
    key, secret, organization_id = make_key(database, Role.OPERATOR)
    with database.transaction() as tx:
        principal = organizations.authenticate(tx, secret)
        organizations.set_tier(tx, organization_id=organization_id, tier="enterprise")
    assert (principal.organization_id, principal.project_id) == (organization_id, key.project_id)
    assert (principal.key_id, principal.tier, principal.role) == (key.id, "free", Role.OPERATOR)
    with database.transaction() as tx:
        assert organizations.authenticate(tx, secret).tier == "enterprise"


def test_a_key_is_nowhere_in_the_database_but_for_its_end(database: Database):
    key, secret, _ = make_key(database)
    assert re.fullmatch(r"yard_sk_[A-Za-z0-9_-]{43}", secret)
    assert key.hint == secret[-4:]
    with database.read() as tx:
        row = tx.execute(text("SELECT row_to_json(api_key)::text FROM api_key")).scalar_one()
    assert secret.removeprefix("yard_sk_") not in row


@pytest.mark.parametrize("secret", ["", "yard_sk_", "yard_sk_" + "x" * 43, "ключ", "\0"])
def test_a_key_that_was_never_made_is_refused(database: Database, secret: str):
    make_key(database)
    with pytest.raises(Unauthenticated, match="Incorrect API key"), database.transaction() as tx:
        organizations.authenticate(tx, secret)


def test_a_revoked_key_is_refused_from_then_on(database: Database):
    key, secret, organization_id = make_key(database)
    with database.transaction() as tx:
        first = organizations.revoke_key(tx, organization_id=organization_id, key_id=key.id)
        revoked_at = first.revoked_at
    with pytest.raises(Unauthenticated, match="was revoked"), database.transaction() as tx:
        organizations.authenticate(tx, secret)
    with database.transaction() as tx:
        again = organizations.revoke_key(tx, organization_id=organization_id, key_id=key.id)
        assert again.revoked_at == revoked_at


def test_nobody_revokes_a_key_of_another_organization(database: Database):
    key, secret, _ = make_key(database)
    _, _, other_id = make_key(database)
    with pytest.raises(NotFound), database.transaction() as tx:
        organizations.revoke_key(tx, organization_id=other_id, key_id=key.id)
    with database.transaction() as tx:
        organizations.authenticate(tx, secret)


def test_use_of_a_key_is_noted_at_most_once_a_minute(database: Database, monkeypatch: pytest.MonkeyPatch):
    key, secret, _ = make_key(database)
    began = clock.now()
    noted = []
    for seconds in (0, 59, 61, 119, 122):
        at = began + timedelta(seconds=seconds)
        monkeypatch.setattr(clock, "now", lambda at=at: at)
        with database.transaction() as tx:
            organizations.authenticate(tx, secret)
        with database.read() as tx:
            noted.append((tx.get_one(ApiKey, key.id).last_used_at - began).total_seconds())
    assert noted == [0, 0, 61, 61, 122]


def test_an_organization_begins_with_a_default_project(database: Database):
    with database.transaction() as tx:
        organization = organizations.create(tx, name="  Acme  ", tier="free")
        second = organizations.create_project(tx, organization_id=organization.id, name="research")
        assert organization.name == "Acme"
        assert organizations.project_of(tx, organization.id, None).name == "default"
        assert organizations.project_of(tx, organization.id, second.id) == second
        names = [project.name for project in organizations.projects(tx, organization.id)]
    assert names == ["default", "research"]


def test_keys_are_listed_by_organization(database: Database):
    mine, _, organization_id = make_key(database)
    make_key(database)
    with database.read() as tx:
        assert [key.id for key in organizations.keys(tx, organization_id)] == [mine.id]


def test_organizations_are_listed_page_by_page(database: Database):
    with database.transaction() as tx:
        made = [organizations.create(tx, name=f"Org {n}", tier="free").id for n in range(5)]
    seen: list[str] = []
    with database.read() as tx:
        for expected in (2, 2, 1):
            page = organizations.list_page(tx, PageRequest(2, after=seen[-1] if seen else None))
            assert len(page.rows) == expected
            seen += [organization.id for organization in page.rows]
    assert seen == made[::-1]
    assert not page.has_more


@pytest.mark.parametrize("name", ["", "   ", "x" * 129, "two\nlines", "nul\0"])
def test_an_unusable_name_is_refused(database: Database, name: str):
    with pytest.raises(Invalid, match="printable"), database.transaction() as tx:
        organizations.create(tx, name=name, tier="free")


def test_what_does_not_exist_is_not_found(database: Database):
    with database.read() as tx:
        for act in (
            lambda: organizations.get(tx, "org_x"),
            lambda: organizations.projects(tx, "org_x"),
            lambda: organizations.project_of(tx, "org_x", None),
            lambda: organizations.keys(tx, "org_x"),
            lambda: organizations.create_project(tx, organization_id="org_x", name="new"),
            lambda: organizations.create_key(tx, project_id="proj_x", name="new"),
        ):
            with pytest.raises(NotFound):
                act()


def test_projects_of_one_organization_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(organizations, "PROJECTS_MAX", 1)
    with database.transaction() as tx:
        organization = organizations.create(tx, name="Acme", tier="free")
    with pytest.raises(Conflict, match="at most 1"), database.transaction() as tx:
        organizations.create_project(tx, organization_id=organization.id, name="second")
