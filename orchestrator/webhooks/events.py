"""Telling: an event and its deliveries, in the transaction that makes it true."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.database.session import notify
from orchestrator.webhooks.event_types import UNASKED, EventType
from orchestrator.webhooks.model import WebhookDelivery, WebhookEndpoint, WebhookEvent

CHANNEL = "webhooks"  # notified when there is something to send


def announce(
    tx: Session,
    *,
    organization_id: str,
    project_id: str | None,
    type: EventType,
    resource_id: str,
    data: Mapping[str, Any] | None = None,
    occurrence: str = "",
) -> None:
    """Tell a project's endpoints that want to know, None: a whole organization's. Saying it again changes
    nothing; what can happen to the same resource again says by `occurrence` which time it is.

    `data` goes beside the resource's id: figures, never a prompt. Where nobody listens it is one look.
    """
    endpoints = _listening(tx, organization_id, project_id, type)
    if not endpoints:
        return
    key = ":".join(filter(None, (type, resource_id, occurrence)))
    event_id = _add(tx, organization_id, project_id, type, key=key, data={"id": resource_id, **(data or {})})
    if event_id is not None:
        send(tx, event_id, endpoints)


def announce_test(tx: Session, endpoint: WebhookEndpoint, type: EventType) -> WebhookDelivery:
    """One delivery of a made-up event to this endpoint alone, disabled or not."""
    unique = ids.new("evt_")
    event_id = _add(
        tx,
        endpoint.organization_id,
        endpoint.project_id,
        type,
        key=f"{EventType.TEST}:{unique}",
        data={"id": _SAMPLES.get(type.rpartition(".")[0], endpoint.id)},
    )
    assert event_id is not None, "a fresh key"
    (delivery,) = send(tx, event_id, [endpoint], is_test=True)
    return delivery


_SAMPLES = {"batch": "batch_test", "fine_tuning.job": "ftjob-test"}


def send(
    tx: Session, event_id: str, endpoints: Sequence[WebhookEndpoint], *, is_test: bool = False
) -> list[WebhookDelivery]:
    """A delivery to each of these endpoints, due now."""
    now = clock.now()
    deliveries = [
        WebhookDelivery(
            id=ids.new("delivery_"),
            event_id=event_id,
            endpoint_id=endpoint.id,
            organization_id=endpoint.organization_id,
            is_test=is_test,
            next_attempt_at=now,
            created_at=now,
        )
        for endpoint in endpoints
    ]
    tx.add_all(deliveries)
    notify(tx, CHANNEL)
    return deliveries


def by_id(tx: Session, event_ids: Collection[str]) -> dict[str, WebhookEvent]:
    """These events."""
    rows = tx.exec(select(WebhookEvent).where(col(WebhookEvent.id).in_(event_ids)))
    return {row.id: row for row in rows}


def body_of(event: WebhookEvent) -> bytes:
    """What is sent and signed, in OpenAI's shape: the same bytes with every attempt."""
    payload = {
        "id": event.id,
        "object": "event",
        "created_at": clock.unix(event.created_at),
        "type": event.type,
        "data": event.data,
    }
    return json.dumps(payload, separators=(",", ":")).encode()


def _listening(
    tx: Session, organization_id: str, project_id: str | None, type: EventType
) -> Sequence[WebhookEndpoint]:
    """Enabled endpoints that are to hear of this. None of them can be deleted before this transaction ends,
    which would undo it; nothing else waits for it."""
    query = select(WebhookEndpoint).where(
        WebhookEndpoint.organization_id == organization_id, col(WebhookEndpoint.disabled_at).is_(None)
    )
    if project_id is not None:
        query = query.where(WebhookEndpoint.project_id == project_id)
    if type not in UNASKED:
        query = query.where(col(WebhookEndpoint.event_types).contains([type]))
    return tx.exec(query.with_for_update(read=True, key_share=True)).all()


def _add(
    tx: Session,
    organization_id: str,
    project_id: str | None,
    type: EventType,
    *,
    key: str,
    data: Mapping[str, Any],
) -> str | None:
    """The new event's id, or None where this has been told already."""
    row = insert(WebhookEvent).values(
        id=ids.new("evt_"),
        organization_id=organization_id,
        project_id=project_id,
        key=key,
        type=type,
        data=dict(data),
        created_at=clock.now(),
    )
    row = row.on_conflict_do_nothing(index_elements=["key"])
    return tx.execute(row.returning(col(WebhookEvent.id))).scalar()
