"""Webhooks: where an organization wants to hear of what, and what became of telling it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import choice, document, moment


class DeliveryStatus(StrEnum):
    PENDING = "pending"  # due at next_attempt_at
    DELIVERED = "delivered"  # answered with a 2xx
    FAILED = "failed"  # every attempt is used up, or the endpoint is gone or disabled


class WebhookEndpoint(SQLModel, table=True):
    """An address, and the kinds of event it is told of. The secret signs what is sent, so it is kept as it
    is; after a rotation the previous one signs too, for a while. Disabled by hand, or after failing for long.
    """

    __tablename__ = "webhook_endpoint"
    __table_args__ = (Index("ix_webhook_endpoint_list", "organization_id", "created_at", "id"),)

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    url: str = Field(max_length=2048)
    name: str = Field(max_length=128)
    event_types: list[str] = document()
    secret: str = Field(max_length=128)
    previous_secret: str | None = Field(default=None, max_length=128)
    previous_secret_until: datetime | None = moment()
    failing_since: datetime | None = moment()
    disabled_at: datetime | None = moment()
    disabled_reason: str | None = None
    created_at: datetime = moment(nullable=False)


class WebhookEvent(SQLModel, table=True):
    """Something that happened. `data` is what the payload carries besides id, type and time."""

    __tablename__ = "webhook_event"

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", index=True, max_length=64)
    project_id: str | None = Field(default=None, max_length=64)
    type: str = Field(max_length=64)
    data: dict[str, Any] = document()
    created_at: datetime = moment(nullable=False)


class WebhookDelivery(SQLModel, table=True):
    """One event on its way to one endpoint. `attempts` is the log, oldest first: [{"at", "status", "error",
    "milliseconds"}], with neither the payload nor the answer's body."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index("ix_webhook_delivery_due", "next_attempt_at", postgresql_where=text("status = 'pending'")),
        Index("ix_webhook_delivery_list", "endpoint_id", "created_at", "id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    event_id: str = Field(foreign_key="webhook_event.id", index=True, max_length=64)
    endpoint_id: str = Field(foreign_key="webhook_endpoint.id", max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    status: DeliveryStatus = choice(DeliveryStatus, default=DeliveryStatus.PENDING)
    attempts: list[dict[str, Any]] = document(default_factory=list)
    next_attempt_at: datetime | None = moment()
    created_at: datetime = moment(nullable=False)
    delivered_at: datetime | None = moment()
