"""Deliveries from their claim to their end."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, select

from orchestrator import clock
from orchestrator.audit.model import AuditEntry
from orchestrator.database.session import Database
from orchestrator.errors import Conflict, NotFound, QuotaExceeded
from orchestrator.organizations.model import Organization, Project
from orchestrator.webhooks import deliveries, endpoints, schedule
from orchestrator.webhooks.deliveries import AT_ONCE_MAX, Attempt, Outgoing
from orchestrator.webhooks.event_types import EventType
from orchestrator.webhooks.model import DeliveryStatus, WebhookDelivery, WebhookEndpoint, WebhookEvent
from tests.factories import complete_batches, make_endpoint, make_project
from tests.orchestrator.webhooks.conftest import MakeEndpoint

START = datetime(2027, 1, 1, 12).astimezone()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time is the last of these."""
    moments = [START]
    monkeypatch.setattr(clock, "now", lambda: moments[-1])
    return moments


def claim(database: Database, *, limit: int = 100, busy: frozenset[str] = frozenset()) -> list[Outgoing]:
    with database.transaction() as tx:
        return deliveries.claim(tx, limit=limit, busy=busy)


def record(
    database: Database, outgoing: Outgoing, status_code: int | None = 200, error: str | None = None
) -> None:
    with database.transaction() as tx:
        deliveries.record(tx, outgoing, Attempt(clock.now(), status_code, error, 12))


def only(tx: Session) -> WebhookDelivery:
    return tx.exec(select(WebhookDelivery)).one()


def test_a_delivery_that_is_answered_is_done(
    database: Database, project: Project, endpoint: MakeEndpoint
) -> None:
    hook = endpoint(failing_since=START, exhausted=3)
    complete_batches(database, project, "batch_1")
    (outgoing,) = claim(database)
    assert (outgoing.url, outgoing.secrets) == (hook.url, (hook.secret,))
    record(database, outgoing, 204)
    assert claim(database) == []
    with database.read() as tx:
        assert only(tx).status is DeliveryStatus.DELIVERED
        assert only(tx).attempts[0].items() >= {"status_code": 204, "error": None, "milliseconds": 12}.items()
        healthy = tx.get_one(WebhookEndpoint, hook.id)
        assert (healthy.failing_since, healthy.exhausted) == (None, 0)


def test_who_dies_between_sending_and_recording_leaves_it_due_with_the_same_id_and_body(
    database: Database, project: Project, endpoint: MakeEndpoint, time: list[datetime]
) -> None:
    endpoint()
    complete_batches(database, project, "batch_1")
    (first,) = claim(database)
    assert claim(database) == []
    time.append(START + timedelta(seconds=deliveries.LEASE_SECONDS))
    (again,) = claim(database)
    assert (again.event_id, again.body) == (first.event_id, first.body)
    record(database, first, 500)  # it was alive after all: kept in the log, and the schedule is the other's
    with database.read() as tx:
        assert only(tx).next_attempt_at == again.lease
    record(database, again, 200)
    with database.read() as tx:
        assert [attempt["status_code"] for attempt in only(tx).attempts] == [500, 200]
        assert only(tx).status is DeliveryStatus.DELIVERED


def test_attempts_follow_the_schedule_until_none_is_left(
    database: Database, project: Project, endpoint: MakeEndpoint, time: list[datetime]
) -> None:
    hook = endpoint()
    complete_batches(database, project, "batch_1")
    ids = set()
    for wait in (*schedule.BACKOFF, None):
        (outgoing,) = claim(database)
        ids.add(outgoing.event_id)
        record(database, outgoing, 500)
        with database.read() as tx:
            due = only(tx).next_attempt_at
        assert due == (None if wait is None else clock.now() + wait)
        if due is not None:
            time.append(due - timedelta(microseconds=1))
            assert claim(database) == []
            time.append(due)
    assert len(ids) == 1
    with database.read() as tx:
        assert (only(tx).status, len(only(tx).attempts)) == (DeliveryStatus.FAILED, schedule.ATTEMPTS_MAX)
        failing = tx.get_one(WebhookEndpoint, hook.id)
        assert (failing.failing_since, failing.exhausted, failing.disabled_at) == (START, 1, None)


def test_a_receiver_that_asks_for_more_time_has_it(
    database: Database, project: Project, endpoint: MakeEndpoint, time: list[datetime]
) -> None:
    endpoint()
    complete_batches(database, project, "batch_1")
    (outgoing,) = claim(database)
    with database.transaction() as tx:
        deliveries.record(tx, outgoing, Attempt(START, 503, None, 12, asked_wait=timedelta(minutes=10)))
    with database.read() as tx:
        assert only(tx).next_attempt_at == START + timedelta(minutes=10)


def test_one_endpoint_cannot_have_all_the_room(
    database: Database, project: Project, endpoint: MakeEndpoint
) -> None:
    slow = endpoint()
    complete_batches(database, project, *(f"batch_{number}" for number in range(10)))
    quick = endpoint()
    complete_batches(database, project, "batch_last")
    claimed = [outgoing.endpoint_id for outgoing in claim(database)]
    assert claimed.count(slow.id) == AT_ONCE_MAX
    assert claimed.count(quick.id) == 1
    assert claim(database, busy=frozenset({slow.id, quick.id})) == []
    assert len(claim(database, limit=2)) == 2


def test_an_endpoint_that_is_gone_is_disabled_at_once_and_the_others_are_told(
    database: Database, project: Project, endpoint: MakeEndpoint
) -> None:
    gone = endpoint(name="gone")
    complete_batches(database, project, "batch_1", "batch_2")
    with database.transaction() as tx:
        organization = tx.get_one(Organization, project.organization_id)
        other = make_endpoint(tx, project=make_project(tx, organization=organization), event_types=[])
        make_endpoint(tx)  # a stranger's
    first, second = claim(database)
    record(database, first, 410)
    record(database, second, 500)
    with database.read() as tx:
        disabled = tx.get_one(WebhookEndpoint, gone.id)
        assert (disabled.disabled_at is not None, disabled.disabled_reason) == (True, "It answered 410 Gone.")
        entry = tx.exec(select(AuditEntry)).one()
        assert (entry.action, entry.actor, entry.subject_id) == ("webhook.disabled", "system", gone.id)
    (notice,) = claim(database)
    assert notice.endpoint_id == other.id
    with database.read() as tx:
        event = tx.get_one(WebhookEvent, notice.event_id)
        assert event.type == "webhook.endpoint.disabled"
        assert event.data.items() >= {"id": gone.id, "reason": "It answered 410 Gone."}.items()


def test_an_endpoint_that_fails_for_five_days_is_disabled(
    database: Database, project: Project, endpoint: MakeEndpoint, time: list[datetime]
) -> None:
    hook = endpoint(failing_since=START - schedule.FAILING_MAX)
    complete_batches(database, project, "batch_1")
    record(database, claim(database)[0], None, "no answer within 15 seconds")
    with database.transaction() as tx:
        disabled = tx.get_one(WebhookEndpoint, hook.id)
        assert disabled.disabled_reason == "No delivery has arrived for 5 days."
        assert only(tx).status is DeliveryStatus.FAILED
        with pytest.raises(Conflict, match="Enable it"):
            deliveries.resend(tx, disabled, only(tx).id)
        endpoints.change(tx, disabled, enabled=True, actor="key_1")
        assert (disabled.disabled_at, disabled.disabled_reason, disabled.failing_since) == (None,) * 3
        deliveries.resend(tx, disabled, only(tx).id)
    assert len(claim(database)) == 1


def test_a_test_is_one_attempt_that_proves_nothing_of_the_endpoint(
    database: Database, endpoint: MakeEndpoint
) -> None:
    hook = endpoint(event_types=["batch.failed"])
    with database.transaction() as tx:
        deliveries.test(tx, tx.get_one(WebhookEndpoint, hook.id), EventType.TEST)
    (outgoing,) = claim(database)
    record(database, outgoing, 410)
    with database.transaction() as tx:
        unharmed = tx.get_one(WebhookEndpoint, hook.id)
        assert (unharmed.disabled_at, unharmed.failing_since) == (None, None)
        assert only(tx).status is DeliveryStatus.FAILED
        for _ in range(deliveries.TESTS_A_MINUTE_MAX - 1):
            deliveries.test(tx, unharmed, EventType.TEST)
        with pytest.raises(QuotaExceeded, match="10 times a minute"):
            deliveries.test(tx, unharmed, EventType.TEST)


def test_after_a_rotation_both_secrets_sign_for_a_day(
    database: Database, endpoint: MakeEndpoint, time: list[datetime]
) -> None:
    old = endpoint().secret
    with database.transaction() as tx:
        hook = tx.exec(select(WebhookEndpoint)).one()
        endpoints.rotate(tx, hook, keep_previous=True, actor="key_1")
        assert endpoints.secrets(hook) == (hook.secret, old)
        time.append(START + timedelta(hours=24))
        assert endpoints.secrets(hook) == (hook.secret,)
        endpoints.rotate(tx, hook, keep_previous=False, actor="key_1")
        assert endpoints.secrets(hook) == (hook.secret,)
        assert old not in str(tx.exec(select(AuditEntry)).all())
        assert hook.secret not in str(tx.exec(select(AuditEntry)).all())


def test_what_is_deleted_while_it_is_sent_is_forgotten(
    database: Database, project: Project, endpoint: MakeEndpoint
) -> None:
    hook = endpoint()
    complete_batches(database, project, "batch_1")
    (outgoing,) = claim(database)
    with database.transaction() as tx:
        endpoints.delete(tx, tx.get_one(WebhookEndpoint, hook.id), actor="key_1")
    record(database, outgoing)
    with database.read() as tx:
        assert tx.exec(select(WebhookDelivery)).all() == []


def test_an_endpoint_sees_its_own_deliveries_alone(
    database: Database, project: Project, endpoint: MakeEndpoint
) -> None:
    one, other = endpoint(event_types=["batch.completed"]), endpoint(event_types=["batch.failed"])
    complete_batches(database, project, "batch_1")
    with database.transaction() as tx:
        assert deliveries.get(tx, one, only(tx).id)
        with pytest.raises(NotFound):
            deliveries.resend(tx, other, only(tx).id)


def test_the_log_is_kept_for_a_month_and_what_is_pending_longer(
    database: Database, project: Project, endpoint: MakeEndpoint, time: list[datetime]
) -> None:
    endpoint()
    complete_batches(database, project, "batch_1", "batch_2")
    record(database, claim(database)[0])
    time.append(START + timedelta(days=deliveries.LOG_DAYS))
    with database.transaction() as tx:
        assert deliveries.prune(tx) == 0
    time.append(time[-1] + timedelta(seconds=1))
    with database.transaction() as tx:
        assert deliveries.prune(tx) == 2
        assert deliveries.prune(tx) == 0
        assert only(tx).status is DeliveryStatus.PENDING
        assert len(tx.exec(select(WebhookEvent)).all()) == 1
