"""Who hears of what."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, select

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.organizations.model import Organization, Project
from orchestrator.webhooks import endpoints
from orchestrator.webhooks.event_types import EventType
from orchestrator.webhooks.events import announce
from orchestrator.webhooks.model import WebhookDelivery, WebhookEndpoint, WebhookEvent
from tests.factories import make_endpoint, make_project
from tests.orchestrator.webhooks.conftest import MakeEndpoint


def completed(tx: Session, project: Project, *, of_project: bool = True) -> None:
    announce(
        tx,
        organization_id=project.organization_id,
        project_id=project.id if of_project else None,
        type=EventType.BATCH_COMPLETED,
        resource_id="batch_1",
    )


def hearing(tx: Session) -> set[str]:
    tx.flush()
    return set(tx.exec(select(WebhookDelivery.endpoint_id)))


def test_enabled_endpoints_of_the_project_that_asked_for_it_hear_of_it(
    database: Database, project: Project, endpoint: MakeEndpoint
) -> None:
    one, other = endpoint(), endpoint(event_types=["batch.failed", "batch.completed"])
    endpoint(event_types=["batch.failed"])
    endpoint(disabled_at=clock.now())
    with database.transaction() as tx:
        organization = tx.get_one(Organization, project.organization_id)
        sibling = make_endpoint(tx, project=make_project(tx, organization=organization))
        make_endpoint(tx)  # a stranger's
        completed(tx, project)
        assert hearing(tx) == {one.id, other.id}
        tx.execute(text("DELETE FROM webhook_delivery; DELETE FROM webhook_event"))
        completed(tx, project, of_project=False)
        assert hearing(tx) == {one.id, other.id, sibling.id}


def test_what_is_said_twice_is_sent_once(
    database: Database, project: Project, endpoint: MakeEndpoint
) -> None:
    endpoint()
    for _ in range(2):
        with database.transaction() as tx:
            completed(tx, project)
    with database.read() as tx:
        assert len(tx.exec(select(WebhookDelivery)).all()) == 1


def test_where_nobody_listens_nothing_is_kept(database: Database, project: Project) -> None:
    with database.transaction() as tx:
        completed(tx, project)
        assert tx.exec(select(WebhookEvent)).all() == []


def test_what_was_rolled_back_is_not_told(
    database: Database, project: Project, endpoint: MakeEndpoint
) -> None:
    endpoint()
    with database.transaction() as tx:
        completed(tx, project)
        assert len(hearing(tx)) == 1
        tx.rollback()
    with database.read() as tx:
        assert hearing(tx) == set()


def test_an_endpoint_is_not_deleted_under_an_announcement_and_can_be_recorded_meanwhile(
    database: Database, project: Project, endpoint: MakeEndpoint
) -> None:
    hook = endpoint()
    with database.transaction() as tx:
        completed(tx, project)
        tx.flush()
        with database.transaction() as other:  # as whoever records an attempt does
            held = endpoints.hold(other, hook.id)
            assert held is not None
            held.failing_since = clock.now()
        with database.read() as other:
            other.execute(text("SET LOCAL lock_timeout = '50ms'"))
            theirs = other.get_one(WebhookEndpoint, hook.id)
            with pytest.raises(OperationalError, match="lock timeout"):
                endpoints.delete(other, theirs, actor="key_1")
