"""The usage ledger and its balances, price lists and quotes.

Money is whole micro-dollars everywhere.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import big, choice, document, moment


class UsageKind(StrEnum):
    BATCH = "batch"
    FINE_TUNING = "fine_tuning"
    SANDBOX = "sandbox"  # a synchronous request


class Usage(SQLModel, table=True):
    """What one finished batch, fine-tuning job or synchronous request used of one model, and what it cost.

    Append-only: the database refuses to change or delete a row. `idempotency_key` makes a second charge
    impossible. `trained_tokens` are those of a fine-tuning job, which has no lines. `prices` are those that
    applied, in micro-dollars per million tokens, and the share not charged, so that the charge can be
    reckoned again from the row alone: {"input", "cached_input", "output", "training", "discount"}.
    """

    __tablename__ = "usage"
    __table_args__ = (
        Index("ix_usage_organization", "organization_id", "at"),
        Index("ix_usage_model", "model", "at"),
    )

    id: str = Field(primary_key=True, max_length=64)
    idempotency_key: str = Field(unique=True, max_length=256)
    kind: UsageKind = choice(UsageKind)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    resource_id: str = Field(index=True, max_length=64)
    model: str = Field(max_length=256)
    lines: int
    input_tokens: int = big()
    cached_tokens: int = big()
    output_tokens: int = big()
    trained_tokens: int = big(default=0)
    prices: dict[str, float] = document(default_factory=dict)
    cost_micros: int = big()
    at: datetime = moment(nullable=False)


class Spent(SQLModel, table=True):
    """What one project was charged in one month, `month` being its first day: the sum of its ledger rows,
    written with each of them."""

    __tablename__ = "spent"

    organization_id: str = Field(primary_key=True, foreign_key="organization.id", max_length=64)
    project_id: str = Field(primary_key=True, foreign_key="project.id", max_length=64)
    month: date = Field(primary_key=True)
    micros: int = big(default=0)


class PriceList(SQLModel, table=True):
    """Prices from `effective_at` on: everyone's, or one organization's own, which go before them.

    `prices` is {model: {"input", "cached_input", "output", "training"}}. A new row takes the place of the
    earlier; none is ever changed. `digest` is of `prices`, so that the same list is not kept twice in a row.
    """

    __tablename__ = "price_list"
    __table_args__ = (Index("ix_price_list_latest", "organization_id", "effective_at"),)

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str | None = Field(default=None, foreign_key="organization.id", max_length=64)
    prices: dict[str, dict[str, int]] = document()
    digest: str = Field(max_length=64)
    actor: str = Field(max_length=64)
    effective_at: datetime = moment(nullable=False)


class QuoteRecord(SQLModel, table=True):
    """A quote that was given, and what came of it. `quoted` is the quote as the customer saw it; the actual
    figures are there once the batch has ended with every line answered. `beside_tokens` are those that other
    batches had of the same engines meanwhile; no customer is shown them."""

    __tablename__ = "quote"
    __table_args__ = (
        Index("ix_quote_list", "organization_id", "created_at", "id"),
        CheckConstraint("settled_at IS NULL OR batch_id IS NOT NULL", name="ck_quote_settled_has_batch"),
    )

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    file_id: str = Field(max_length=64)
    batch_id: str | None = Field(default=None, unique=True, max_length=64)
    model: str | None = Field(default=None, max_length=256)
    quoted: dict[str, Any] = document()
    actual_cost_micros: int | None = big(nullable=True, default=None)
    actual_output_tokens: int | None = big(nullable=True, default=None)
    actual_start_seconds: float | None = None
    actual_finish_seconds: float | None = None
    beside_tokens: int = big(default=0)
    created_at: datetime = moment(nullable=False)
    settled_at: datetime | None = moment()
