"""A Batch, and the segments in which its results are kept until they are merged."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from orchestrator.batches.states import BatchStatus
from orchestrator.database.columns import big, choice, document, moment


class OnInvalidLine(StrEnum):
    FAIL = "fail"  # one bad line fails the batch, as at OpenAI
    SKIP = "skip"  # bad lines go to the error file, the rest runs


class Batch(SQLModel, table=True):
    """Counts and tokens grow as segments are adopted; `request_total` is known once validated.

    `usage` is `{model: {"input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "lines"}}`
    over completed lines. `cost_micros` is millionths of a US dollar. `rates` are the prices that it was
    quoted and will be charged, by model, as in a ledger row's `prices`; None until it is validated.
    """

    __tablename__ = "batch"
    __table_args__ = (
        Index("ix_batch_list", "organization_id", "created_at", "id"),
        Index(
            "ix_batch_live",
            "organization_id",
            postgresql_where=text("status IN ('validating', 'in_progress', 'finalizing', 'cancelling')"),
        ),
        Index("ix_batch_finalizing", "finalizing_at"),
        UniqueConstraint("project_id", "idempotency_key", name="uq_batch_idempotency_key"),
        CheckConstraint(
            "status <> 'completed' OR output_file_id IS NOT NULL OR error_file_id IS NOT NULL",
            name="ck_batch_completed_has_results",
        ),
    )

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    endpoint: str = Field(max_length=64)
    completion_window: str = Field(max_length=16)
    input_file_id: str = Field(foreign_key="file.id", max_length=64)
    on_invalid_line: OnInvalidLine = choice(OnInvalidLine, default=OnInvalidLine.FAIL)
    retry_of: str | None = Field(default=None, max_length=64)
    tier: str = Field(max_length=32)
    batch_metadata: dict[str, str] | None = document(default=None)
    output_expires_after_seconds: int | None = None
    idempotency_key: str | None = Field(default=None, max_length=256)
    idempotency_hash: str | None = Field(default=None, max_length=64)

    status: BatchStatus = choice(BatchStatus, default=BatchStatus.VALIDATING)
    model: str | None = Field(default=None, max_length=256)
    errors: list[dict[str, Any]] | None = document(default=None)
    report_file_id: str | None = Field(default=None, max_length=64)
    output_file_id: str | None = Field(default=None, max_length=64)
    error_file_id: str | None = Field(default=None, max_length=64)
    flow_run_id: str | None = Field(default=None, max_length=64)

    request_total: int = 0
    request_completed: int = 0
    request_failed: int = 0
    usage: dict[str, dict[str, int]] = document(default_factory=dict)
    cost_micros: int = big(default=0)
    rates: dict[str, dict[str, float]] | None = document(default=None)
    estimate: dict[str, Any] | None = document(default=None)
    rate: dict[str, float] | None = document(default=None)  # lines_per_second, tokens_per_second
    waiting_for: str | None = None  # why nothing moves just now, in words; None while lines flow

    created_at: datetime = moment(nullable=False)
    expires_at: datetime = moment(nullable=False)
    in_progress_at: datetime | None = moment()
    finalizing_at: datetime | None = moment()
    completed_at: datetime | None = moment()
    failed_at: datetime | None = moment()
    expired_at: datetime | None = moment()
    cancelling_at: datetime | None = moment()
    cancelled_at: datetime | None = moment()


class BatchSegment(SQLModel, table=True):
    """One immutable object of results that this batch has adopted. The row is the truth: an object
    without a row was written by a driver that had lost its lease, and does not count."""

    __tablename__ = "batch_segment"

    batch_id: str = Field(primary_key=True, foreign_key="batch.id", max_length=64)
    attempt: int = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    key: str = Field(max_length=256)
    bytes: int = big()
    completed: int
    failed: int
    usage: dict[str, dict[str, int]] = document()
    adopted_at: datetime = moment(nullable=False)
