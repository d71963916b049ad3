"""Projects: the first is `default`, one is always left, and an archived one's keys are refused."""

import pytest

from orchestrator.database.pages import Order, PageRequest
from orchestrator.database.session import Database
from orchestrator.errors import Conflict, NotFound, Unauthenticated
from orchestrator.organizations import keys, projects
from orchestrator.organizations import service as organizations
from orchestrator.organizations.authentication import authenticate
from tests.orchestrator.organizations.bearers import make_bearer

OLDEST_FIRST = PageRequest(limit=10, order=Order.ASC)


def test_an_organization_begins_with_a_default_project(database: Database):
    with database.transaction() as tx:
        organization = organizations.create(tx, name="  Acme  ", tier="free")
        second = projects.create(tx, organization_id=organization.id, name="research")
        assert organization.name == "Acme"
        assert projects.get(tx, organization.id, None).name == "default"
        assert projects.get(tx, organization.id, second.id) == second
        found = projects.list_page(tx, OLDEST_FIRST, organization_id=organization.id)
        assert [project.name for project in found.rows] == ["default", "research"]


def test_projects_of_one_organization_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(projects, "PROJECTS_MAX", 1)
    with database.transaction() as tx:
        organization = organizations.create(tx, name="Acme", tier="free")
    with pytest.raises(Conflict, match="at most 1"), database.transaction() as tx:
        projects.create(tx, organization_id=organization.id, name="second")


def test_an_archived_project_refuses_its_keys_and_changes_no_more(database: Database):
    with database.transaction() as tx:
        owner = make_bearer(tx)
        night = projects.create(tx, organization_id=owner.organization_id, name="night")
        _, secret = keys.create(tx, project_id=night.id, name="ci")
        projects.archive(tx, owner, project_id=night.id)
        archived_at = night.archived_at
        assert projects.archive(tx, owner, project_id=night.id).archived_at == archived_at
        with pytest.raises(Unauthenticated, match=r"project 'night', which was archived on \d{4}-"):
            authenticate(tx, secret)
        for change in (
            lambda: keys.create(tx, project_id=night.id, name="more"),
            lambda: projects.rename(tx, night, name="day", actor=owner.key_id),
        ):
            with pytest.raises(Conflict, match="was archived"):
                change()
        mine = {"organization_id": owner.organization_id}
        open_now = projects.list_page(tx, OLDEST_FIRST, **mine)
        assert [project.name for project in open_now.rows] == ["default"]
        everything = projects.list_page(tx, OLDEST_FIRST, **mine, include_archived=True)
        assert [project.name for project in everything.rows] == ["default", "night"]


def test_nobody_archives_the_project_of_their_own_key_or_another_organization_s(database: Database):
    with database.transaction() as tx:
        owner, stranger = make_bearer(tx), make_bearer(tx)
        with pytest.raises(Conflict, match="Your own key belongs"):
            projects.archive(tx, owner, project_id=owner.project_id)
        with pytest.raises(NotFound):
            projects.archive(tx, owner, project_id=stranger.project_id)
