"""Webhook endpoints of the project that a key belongs to, and the log of what was sent to them."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Caller
from api.deps import Read, Transaction, YardDep
from api.pagination import WebhooksPage
from api.schemas.webhooks import (
    AskForTest,
    ChangeWebhookEndpoint,
    CreateWebhookEndpoint,
    DeliveryObject,
    EndpointTestResult,
    EventTypeList,
    RotateSecret,
    WebhookEndpointObject,
    WebhookEndpointWithSecret,
)
from api.schemas.wire import Deleted, ListOf
from api.yard import Yard
from orchestrator.errors import Invalid, Unavailable
from orchestrator.organizations.principal import Principal
from orchestrator.webhooks import deliveries, endpoints, events
from orchestrator.webhooks.addresses import checked_url
from orchestrator.webhooks.event_types import SUBSCRIBABLE, EventType
from orchestrator.webhooks.model import WebhookEndpoint

TEST_SECONDS_MAX = 20.0  # to wait for a test's answer: an attempt's time, and a little
LOOK_SECONDS = 0.2

router = APIRouter(tags=["Webhooks"])


def named_endpoint(webhook_endpoint_id: str, tx: Transaction, caller: Caller) -> WebhookEndpoint:
    """The endpoint in the path, held."""
    return endpoints.get_held(tx, webhook_endpoint_id, **_mine(caller))


Named = Annotated[WebhookEndpoint, Depends(named_endpoint)]


@router.get("/webhook_event_types")
async def list_webhook_event_types() -> EventTypeList:
    """The kinds of event that an endpoint can ask for."""
    return EventTypeList()


@router.post("/webhook_endpoints")
def create_webhook_endpoint(
    body: CreateWebhookEndpoint, tx: Transaction, caller: Caller, yard: YardDep
) -> WebhookEndpointWithSecret:
    """Be told when batches and fine-tuning jobs end, and of spends. `signing_secret` is shown this once."""
    endpoint = endpoints.create(
        tx,
        **_mine(caller),
        url=_checked(yard, body.url),
        name=body.name,
        event_types=body.event_types,
        actor=caller.key_id,
    )
    return WebhookEndpointWithSecret.of(endpoint)


@router.get("/webhook_endpoints")
def list_webhook_endpoints(tx: Read, page: WebhooksPage, caller: Caller) -> ListOf[WebhookEndpointObject]:
    """The project's endpoints, newest first."""
    found = endpoints.list_page(tx, page, **_mine(caller))
    return ListOf.of([WebhookEndpointObject.of(row) for row in found.rows], has_more=found.has_more)


@router.get("/webhook_endpoints/{webhook_endpoint_id}")
def retrieve_webhook_endpoint(webhook_endpoint_id: str, tx: Read, caller: Caller) -> WebhookEndpointObject:
    """One endpoint, and whether it works."""
    return WebhookEndpointObject.of(endpoints.get(tx, webhook_endpoint_id, **_mine(caller)))


@router.post("/webhook_endpoints/{webhook_endpoint_id}")
def change_webhook_endpoint(
    endpoint: Named, body: ChangeWebhookEndpoint, tx: Transaction, caller: Caller, yard: YardDep
) -> WebhookEndpointObject:
    """Change its address, name or kinds of event; disable it, or enable it again."""
    changed = endpoints.change(
        tx,
        endpoint,
        url=None if body.url is None else _checked(yard, body.url),
        name=body.name,
        event_types=body.event_types,
        enabled=body.enabled,
        actor=caller.key_id,
    )
    return WebhookEndpointObject.of(changed)


@router.delete("/webhook_endpoints/{webhook_endpoint_id}")
def delete_webhook_endpoint(endpoint: Named, tx: Transaction, caller: Caller) -> Deleted:
    """Delete an endpoint, its log, and what was on its way to it."""
    endpoints.delete(tx, endpoint, actor=caller.key_id)
    return Deleted(id=endpoint.id, object="webhook_endpoint.deleted")


@router.post("/webhook_endpoints/{webhook_endpoint_id}/rotate_secret")
def rotate_webhook_secret(
    endpoint: Named, tx: Transaction, caller: Caller, body: RotateSecret | None = None
) -> WebhookEndpointWithSecret:
    """A new secret, shown this once. For a day every delivery has a signature by each of the two, unless told
    otherwise."""
    keep = (body or RotateSecret()).keep_old_secret_active_for_24_hours
    return WebhookEndpointWithSecret.of(
        endpoints.rotate(tx, endpoint, keep_previous=keep, actor=caller.key_id)
    )


@router.get("/webhook_endpoints/{webhook_endpoint_id}/deliveries")
def list_webhook_deliveries(
    webhook_endpoint_id: str, tx: Read, page: WebhooksPage, caller: Caller
) -> ListOf[DeliveryObject]:
    """What was sent in the last thirty days, attempt by attempt."""
    endpoint = endpoints.get(tx, webhook_endpoint_id, **_mine(caller))
    found = deliveries.list_page(tx, page, endpoint)
    told = events.by_id(tx, {row.event_id for row in found.rows})
    shown = [DeliveryObject.of(row, told[row.event_id]) for row in found.rows]
    return ListOf.of(shown, has_more=found.has_more)


@router.post("/webhook_endpoints/{webhook_endpoint_id}/deliveries/{delivery_id}/retry")
def retry_webhook_delivery(delivery_id: str, endpoint: Named, tx: Transaction) -> DeliveryObject:
    """Send it again now, whatever has become of it so far."""
    delivery = deliveries.resend(tx, endpoint, delivery_id)
    return DeliveryObject.of(delivery, events.by_id(tx, [delivery.event_id])[delivery.event_id])


@router.post("/webhook_endpoints/{webhook_endpoint_id}/test")
async def send_test_webhook(
    webhook_endpoint_id: str, yard: YardDep, caller: Caller, body: AskForTest | None = None
) -> EndpointTestResult:
    """Send a made-up event the way of all others, once, and wait for the endpoint's answer."""
    kind = _tested((body or AskForTest()).event_type)
    delivery_id = await asyncio.to_thread(_begin_test, yard, caller, webhook_endpoint_id, kind)
    deadline = time.monotonic() + TEST_SECONDS_MAX
    while time.monotonic() < deadline:
        await asyncio.sleep(LOOK_SECONDS)
        shown = await asyncio.to_thread(_look, yard, caller, webhook_endpoint_id, delivery_id)
        if shown.attempts:
            return _result(shown)
    raise Unavailable(
        f"The test was not sent within {TEST_SECONDS_MAX:.0f} seconds: the part of the yard that sends "
        f"webhooks is down or busy. Look for delivery {delivery_id} in the endpoint's log.",
        headers={"x-should-retry": "false"},  # it is on its way
    )


def _result(shown: DeliveryObject) -> EndpointTestResult:
    (attempt,) = shown.attempts
    if attempt.status_code is None:
        raise Invalid(
            f"The endpoint did not answer: {attempt.error}. This is delivery {shown.id} in its log.",
            code="webhook_test_failed",
        )
    return EndpointTestResult(
        webhook_endpoint_id=shown.webhook_endpoint_id,
        event_type=shown.event.type,
        status_code=attempt.status_code,
        delivery=shown,
    )


def _begin_test(yard: Yard, caller: Principal, endpoint_id: str, kind: EventType) -> str:
    with yard.database.transaction() as tx:
        endpoint = endpoints.get_held(tx, endpoint_id, **_mine(caller))
        return deliveries.test(tx, endpoint, kind).id


def _look(yard: Yard, caller: Principal, endpoint_id: str, delivery_id: str) -> DeliveryObject:
    with yard.database.read() as tx:
        endpoint = endpoints.get(tx, endpoint_id, **_mine(caller))
        delivery = deliveries.get(tx, endpoint, delivery_id)
        return DeliveryObject.of(delivery, events.by_id(tx, [delivery.event_id])[delivery.event_id])


def _tested(kind: str) -> EventType:
    allowed = (*SUBSCRIBABLE, EventType.TEST)
    if kind not in allowed:
        raise Invalid(f"Expected one of {', '.join(allowed)}, found '{kind[:64]}'.", param="event_type")
    return EventType(kind)


def _checked(yard: Yard, url: str) -> str:
    return checked_url(url, private_allowed=yard.settings.webhook_private_addresses)


def _mine(caller: Principal) -> dict[str, str]:
    return {"organization_id": caller.organization_id, "project_id": caller.project_id}
