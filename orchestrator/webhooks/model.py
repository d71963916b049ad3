"""Webhooks: where an organization wants to hear of what, and what became of telling it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import document, moment


class DeliveryStatus(StrEnum):
    PENDING = "pending"  # due at next_attempt_at
    DELIVERED = "delivered"  # answered with a 2xx
    FAILED = "failed"  # every attempt is used up, or its endpoint was disabled


class WebhookEndpoint(SQLModel, table=True):
    """An address, and the kinds of event it is told of. The secret signs what is sent, so it is kept as it
    is; after a rotation the previous one signs too, for a while. Disabled by hand, or after failing for long:
    since `failing_since`, `exhausted` deliveries have used up their attempts, and none has arrived.
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
    exhausted: int = 0
    disabled_at: datetime | None = moment()
    disabled_reason: str | None = None
    created_at: datetime = moment(nullable=False)
    updated_at: datetime = moment(nullable=False)


class WebhookEvent(SQLModel, table=True):
    """Something that happened, once: `key` is its kind, what it happened to and, where that can happen
    again, which time. `data` is what the payload carries besides id, type and time."""

    __tablename__ = "webhook_event"
    __table_args__ = (Index("ix_webhook_event_created", "created_at"),)

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str | None = Field(default=None, max_length=64)
    key: str = Field(unique=True, max_length=256)
    type: str = Field(max_length=64)
    data: dict[str, Any] = document()
    created_at: datetime = moment(nullable=False)


class WebhookDelivery(SQLModel, table=True):
    """One event on its way to one endpoint. `attempts` is the log, oldest first: [{"at", "status_code",
    "error", "milliseconds"}], with neither the payload nor the answer's body. Whoever makes an attempt moves
    `next_attempt_at` on first: that is its lease. A test is tried once and proves nothing of its endpoint.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index(
            "ix_webhook_delivery_due",
            "next_attempt_at",
            postgresql_where=text("next_attempt_at IS NOT NULL"),
        ),
        Index("ix_webhook_delivery_list", "endpoint_id", "created_at", "id"),
        Index("ix_webhook_delivery_created", "created_at"),
    )

    id: str = Field(primary_key=True, max_length=64)
    event_id: str = Field(foreign_key="webhook_event.id", index=True, max_length=64)
    endpoint_id: str = Field(foreign_key="webhook_endpoint.id", max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    is_test: bool = False
    attempts: list[dict[str, Any]] = document(default_factory=list)
    next_attempt_at: datetime | None = moment()
    created_at: datetime = moment(nullable=False)
    delivered_at: datetime | None = moment()

    @property
    def status(self) -> DeliveryStatus:
        """What has become of it: said by its two moments, kept nowhere else."""
        if self.delivered_at is not None:
            return DeliveryStatus.DELIVERED
        return DeliveryStatus.FAILED if self.next_attempt_at is None else DeliveryStatus.PENDING
