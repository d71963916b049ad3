"""Organizations: what they begin with, how they are found, and what of their plan is remembered."""

import pytest
from sqlmodel import select

from orchestrator.audit.model import AuditEntry
from orchestrator.database.pages import PageRequest
from orchestrator.database.session import Database
from orchestrator.errors import Invalid, NotFound
from orchestrator.organizations import keys, projects
from orchestrator.organizations import service as organizations

FIRST = PageRequest(limit=10)


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
            lambda: projects.list_page(tx, FIRST, organization_id="org_x"),
            lambda: projects.get(tx, "org_x", None),
            lambda: projects.create(tx, organization_id="org_x", name="new"),
            lambda: keys.list_page(tx, FIRST, organization_id="org_x"),
            lambda: keys.create(tx, project_id="proj_x", name="new"),
        ):
            with pytest.raises(NotFound):
                act()


def test_a_change_of_tier_is_remembered_and_the_same_tier_is_none(database: Database):
    with database.transaction() as tx:
        organization = organizations.create(tx, name="Acme", tier="free", actor="key_1")
        for tier in ("enterprise", "enterprise"):
            organizations.set_tier(tx, organization_id=organization.id, tier=tier, actor="key_2")
    with database.read() as tx:
        told = tx.exec(select(AuditEntry).order_by(AuditEntry.created_at)).all()
    assert [(entry.action, entry.actor) for entry in told] == [
        ("organization.created", "key_1"),
        ("tier.updated", "key_2"),
    ]
    assert (told[1].before, told[1].after) == ({"tier": "free"}, {"tier": "enterprise"})
