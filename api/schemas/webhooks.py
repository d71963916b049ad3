"""Webhook endpoints in OpenAI's shapes, and what it has no client for: their state, and the log."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas.wire import Identified, RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.webhooks.event_types import SUBSCRIBABLE, EventType
from orchestrator.webhooks.model import DeliveryStatus, WebhookDelivery, WebhookEndpoint, WebhookEvent

HINT_CHARACTERS = 4  # of a secret's end

Name = Annotated[Text, Field(min_length=1, max_length=128)]
Url = Annotated[Text, Field(min_length=1)]
EventTypes = Annotated[list[Text], Field(max_length=100)]


class CreateWebhookEndpoint(RequestBody):
    """The body of `POST /webhook_endpoints`."""

    url: Url
    name: Name
    event_types: EventTypes


class ChangeWebhookEndpoint(RequestBody):
    """The body of `POST /webhook_endpoints/{id}`: what is given is changed. `event_types` is all of them."""

    url: Url | None = None
    name: Name | None = None
    event_types: EventTypes | None = None
    enabled: bool | None = None


class RotateSecret(RequestBody):
    """The body of `POST /webhook_endpoints/{id}/rotate_secret`. Unless told otherwise both secrets sign for a
    day, so that no receiver misses anything while it is being changed."""

    keep_old_secret_active_for_24_hours: bool = True


class AskForTest(RequestBody):
    """The body of `POST /webhook_endpoints/{id}/test`."""

    event_type: Text = EventType.TEST


class WebhookEndpointObject(Identified):
    """An endpoint. `signing_secret` is in the answers that made it and that rotated it, nowhere else."""

    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    url: str
    name: str
    event_types: list[str]
    project_id: str
    signing_secret_hint: str
    old_secret_active_until: int | None
    enabled: bool
    disabled_at: int | None
    disabled_reason: str | None
    failing_since: int | None
    created_at: int
    updated_at: int

    @classmethod
    def of(cls, endpoint: WebhookEndpoint) -> "WebhookEndpointObject":
        """The endpoint as its project sees it."""
        return cls(**_fields(endpoint))


class WebhookEndpointWithSecret(WebhookEndpointObject):
    """An endpoint whose secret is new."""

    signing_secret: str

    @classmethod
    def of(cls, endpoint: WebhookEndpoint) -> "WebhookEndpointWithSecret":
        """The endpoint as whoever made or rotated it sees it, once."""
        return cls(**_fields(endpoint), signing_secret=endpoint.secret)


def _fields(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "name": endpoint.name,
        "event_types": endpoint.event_types,
        "project_id": endpoint.project_id,
        "signing_secret_hint": f"whsec_…{endpoint.secret[-HINT_CHARACTERS:]}",
        "old_secret_active_until": clock.unix_or_none(endpoint.previous_secret_until),
        "enabled": endpoint.disabled_at is None,
        "disabled_at": clock.unix_or_none(endpoint.disabled_at),
        "disabled_reason": endpoint.disabled_reason,
        "failing_since": clock.unix_or_none(endpoint.failing_since),
        "created_at": clock.unix(endpoint.created_at),
        "updated_at": clock.unix(endpoint.updated_at),
    }


class AttemptObject(Wire):
    """One attempt: when, the answer's status, or why there is none that counts, and how long it took."""

    at: str
    status_code: int | None
    error: str | None
    milliseconds: int


class EventSummary(Wire):
    """What a delivery tells of. `resource_id` is what it happened to."""

    id: str
    type: str
    resource_id: str
    created_at: int


class DeliveryObject(Identified):
    """One event on its way to one endpoint. `event.id` is the `webhook-id` of every attempt."""

    object: Literal["webhook_endpoint.delivery"] = "webhook_endpoint.delivery"
    webhook_endpoint_id: str
    event: EventSummary
    test: bool
    status: DeliveryStatus
    attempts: list[AttemptObject]
    next_attempt_at: int | None
    created_at: int
    delivered_at: int | None

    @classmethod
    def of(cls, delivery: WebhookDelivery, event: WebhookEvent) -> "DeliveryObject":
        """An entry of the log."""
        return cls(
            id=delivery.id,
            webhook_endpoint_id=delivery.endpoint_id,
            event=EventSummary(
                id=event.id,
                type=event.type,
                resource_id=event.data["id"],
                created_at=clock.unix(event.created_at),
            ),
            test=delivery.is_test,
            status=delivery.status,
            attempts=[AttemptObject(**attempt) for attempt in delivery.attempts],
            next_attempt_at=clock.unix_or_none(delivery.next_attempt_at),
            created_at=clock.unix(delivery.created_at),
            delivered_at=clock.unix_or_none(delivery.delivered_at),
        )


class EndpointTestResult(Wire):
    """What came of a test: the endpoint has answered, and `status_code` says how."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    success: Literal[True] = True
    status_code: int
    delivery: DeliveryObject


class EventTypeList(Wire):
    """The kinds of event that an endpoint can ask for."""

    object: Literal["list"] = "list"
    data: tuple[str, ...] = SUBSCRIBABLE
