"""Deliveries: claimed when they are due, recorded attempt by attempt, kept for a while as a log.

A claim moves `next_attempt_at` on by LEASE_SECONDS. Who dies between sending and recording leaves a delivery
that is due again then, with the same id: receivers hear of everything at least once and tell by the id.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func
from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.database.pages import Page, PageRequest, fetch
from orchestrator.database.session import notify
from orchestrator.errors import Conflict, NotFound, QuotaExceeded
from orchestrator.webhooks import endpoints, schedule
from orchestrator.webhooks.event_types import EventType
from orchestrator.webhooks.events import CHANNEL, announce_test, body_of
from orchestrator.webhooks.model import WebhookDelivery, WebhookEndpoint, WebhookEvent

LEASE_SECONDS = 60  # several times what an attempt may take
AT_ONCE_MAX = 4  # of one endpoint: when these are done, its next ones are claimed
LOOKED_AT_MAX = 1_000  # due deliveries that a claim chooses from
ATTEMPTS_KEPT = 20
ERROR_CHARACTERS_MAX = 300
LOG_DAYS = 30
PRUNED_MAX = 20_000  # rows that one pruning takes; what is left waits for the next
TESTS_A_MINUTE_MAX = 10  # of one endpoint


@dataclass(frozen=True)
class Outgoing:
    """A claimed delivery: what to send where. `lease` tells this claim from a later one."""

    delivery_id: str
    endpoint_id: str
    event_id: str
    url: str
    secrets: tuple[str, ...]
    body: bytes
    lease: datetime


@dataclass(frozen=True)
class Attempt:
    """What came of sending: the answer's status, or why there is none that counts; how long the receiver has
    asked to be left alone."""

    at: datetime
    status_code: int | None
    error: str | None
    milliseconds: int
    asked_wait: timedelta | None = None

    @property
    def arrived(self) -> bool:
        """Answered with a 2xx."""
        return self.status_code is not None and 200 <= self.status_code < 300


def claim(tx: Session, *, limit: int, busy: Collection[str]) -> list[Outgoing]:
    """Up to `limit` due deliveries, at most AT_ONCE_MAX to one endpoint and none to a busy one, so that one
    slow endpoint holds up nobody else. What another process claims just now is passed over."""
    now = clock.now()
    due = (
        select(WebhookDelivery.id, WebhookDelivery.endpoint_id, WebhookDelivery.next_attempt_at)
        .where(col(WebhookDelivery.next_attempt_at) <= now)
        .where(col(WebhookDelivery.endpoint_id).not_in(busy))
        .order_by(col(WebhookDelivery.next_attempt_at))
        .limit(LOOKED_AT_MAX)
        .subquery()
    )
    place = func.row_number().over(partition_by=due.c.endpoint_id, order_by=due.c.next_attempt_at)
    ranked = select(due.c.id, place.label("place")).subquery()
    rows = tx.exec(
        select(WebhookDelivery)
        .join(ranked, ranked.c.id == WebhookDelivery.id)
        .where(ranked.c.place <= AT_ONCE_MAX, col(WebhookDelivery.next_attempt_at) <= now)
        .order_by(col(WebhookDelivery.next_attempt_at))
        .limit(limit)
        .with_for_update(of=WebhookDelivery, skip_locked=True)
    ).all()
    return [_outgoing(tx, row, lease=now + timedelta(seconds=LEASE_SECONDS)) for row in rows]


def next_due(tx: Session, *, busy: Collection[str]) -> datetime | None:
    """When the next delivery is due, leaving out those to busy endpoints."""
    return tx.exec(
        select(func.min(WebhookDelivery.next_attempt_at)).where(col(WebhookDelivery.endpoint_id).not_in(busy))
    ).one()


def record(tx: Session, outgoing: Outgoing, attempt: Attempt) -> None:
    """Keep what came of an attempt, and decide on the next one and on the endpoint. Of a delivery or an
    endpoint that was deleted meanwhile nothing is kept."""
    endpoint = endpoints.hold(tx, outgoing.endpoint_id)
    delivery = tx.get(WebhookDelivery, outgoing.delivery_id, with_for_update=True, populate_existing=True)
    if endpoint is None or delivery is None:
        return
    delivery.attempts = [*delivery.attempts, _logged(attempt)][-ATTEMPTS_KEPT:]
    if attempt.arrived:
        delivery.delivered_at, delivery.next_attempt_at = attempt.at, None
    elif delivery.next_attempt_at == outgoing.lease:  # else asked for again, or its endpoint disabled
        wait = None if delivery.is_test else schedule.wait_after(len(delivery.attempts), attempt.asked_wait)
        delivery.next_attempt_at = None if wait is None else clock.now() + wait
    if not delivery.is_test and endpoint.disabled_at is None:
        _judge(tx, endpoint, attempt, exhausted=len(delivery.attempts) == schedule.ATTEMPTS_MAX)


def resend(tx: Session, endpoint: WebhookEndpoint, delivery_id: str) -> WebhookDelivery:
    """Make the next attempt now, whatever has become of the delivery so far. Raises NotFound, and Conflict
    for a disabled endpoint."""
    delivery = get(tx, endpoint, delivery_id, lock=True)
    if endpoint.disabled_at is not None:
        raise Conflict(f"This endpoint is disabled: {endpoint.disabled_reason} Enable it, then retry.")
    delivery.next_attempt_at, delivery.delivered_at = clock.now(), None
    notify(tx, CHANNEL)
    return delivery


def test(tx: Session, endpoint: WebhookEndpoint, type: EventType) -> WebhookDelivery:
    """Send a made-up event, to a disabled endpoint too; one attempt. Raises QuotaExceeded beyond
    TESTS_A_MINUTE_MAX."""
    since = clock.now() - timedelta(minutes=1)
    mine = (WebhookDelivery.endpoint_id == endpoint.id, col(WebhookDelivery.is_test))
    count = tx.exec(
        select(func.count()).select_from(WebhookDelivery).where(*mine, WebhookDelivery.created_at > since)
    ).one()
    if count >= TESTS_A_MINUTE_MAX:
        raise QuotaExceeded(
            f"An endpoint is tested at most {TESTS_A_MINUTE_MAX} times a minute; this one was {count} times.",
            retry_after_seconds=60,
        )
    return announce_test(tx, endpoint, type)


def get(tx: Session, endpoint: WebhookEndpoint, delivery_id: str, *, lock: bool = False) -> WebhookDelivery:
    """One delivery to an endpoint, with its row held if asked. Raises NotFound."""
    delivery = tx.get(WebhookDelivery, delivery_id, with_for_update=lock)
    if delivery is None or delivery.endpoint_id != endpoint.id:
        raise NotFound(
            f"Webhook endpoint '{endpoint.id}' has no delivery with id '{delivery_id}'. Deliveries are kept "
            f"for {LOG_DAYS} days.",
            param="delivery_id",
        )
    return delivery


def list_page(tx: Session, request: PageRequest, endpoint: WebhookEndpoint) -> Page[WebhookDelivery]:
    """One page of an endpoint's log. Raises Invalid for an unknown cursor."""
    within = [col(WebhookDelivery.endpoint_id) == endpoint.id]
    return fetch(tx, WebhookDelivery, request, organization_id=None, within=within)


def prune(tx: Session) -> int:
    """Forget deliveries, and the events that nobody else has still to hear of, after LOG_DAYS; how many."""
    before = clock.now() - timedelta(days=LOG_DAYS)
    old = (
        select(WebhookDelivery.id)
        .where(WebhookDelivery.created_at < before, col(WebhookDelivery.next_attempt_at).is_(None))
        .limit(PRUNED_MAX)
    )
    told = (
        select(WebhookEvent.id)
        .where(WebhookEvent.created_at < before)
        .where(~select(WebhookDelivery.id).where(WebhookDelivery.event_id == WebhookEvent.id).exists())
        .limit(PRUNED_MAX)
    )
    deliveries = tx.execute(delete(WebhookDelivery).where(col(WebhookDelivery.id).in_(old)))
    events = tx.execute(delete(WebhookEvent).where(col(WebhookEvent.id).in_(told)))
    return int(deliveries.rowcount) + int(events.rowcount)  # type: ignore[attr-defined]  # a DELETE's cursor result has it


def _outgoing(tx: Session, delivery: WebhookDelivery, *, lease: datetime) -> Outgoing:
    delivery.next_attempt_at = lease
    endpoint = tx.get_one(WebhookEndpoint, delivery.endpoint_id)
    event = tx.get_one(WebhookEvent, delivery.event_id)
    return Outgoing(
        delivery_id=delivery.id,
        endpoint_id=endpoint.id,
        event_id=event.id,
        url=endpoint.url,
        secrets=endpoints.secrets(endpoint),
        body=body_of(event),
        lease=lease,
    )


def _logged(attempt: Attempt) -> dict[str, str | int | None]:
    return {
        "at": attempt.at.isoformat(),
        "status_code": attempt.status_code,
        "error": attempt.error and attempt.error[:ERROR_CHARACTERS_MAX],
        "milliseconds": attempt.milliseconds,
    }


def _judge(tx: Session, endpoint: WebhookEndpoint, attempt: Attempt, *, exhausted: bool) -> None:
    """Whether the endpoint still works, after an attempt."""
    if attempt.arrived:
        endpoint.failing_since, endpoint.exhausted = None, 0
        return
    endpoint.failing_since = endpoint.failing_since or attempt.at
    endpoint.exhausted += exhausted
    reason = schedule.disabled_for(
        status_code=attempt.status_code,
        failing_since=endpoint.failing_since,
        exhausted=endpoint.exhausted,
        now=clock.now(),
    )
    if reason is not None:
        endpoints.disable(tx, endpoint, reason=reason)
