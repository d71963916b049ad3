"""A FineTuningJob, what it says while it runs, and the checkpoints it leaves."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import big, choice, document, moment
from orchestrator.fine_tuning.states import FineTuningStatus


class Method(StrEnum):
    SUPERVISED = "supervised"
    DPO = "dpo"


class EventLevel(StrEnum):
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class EventType(StrEnum):
    MESSAGE = "message"
    METRICS = "metrics"  # of one step; `data` holds OpenAI's fields and ours


class FineTuningJob(SQLModel, table=True):
    """`requested` is what the customer asked for, `auto` included; `hyperparameters` and `lora` are the
    numbers that run, known once validated: with the dataset and the seed they determine the result.

    `trained_tokens` are real tokens (no padding) of all steps up to the last stored checkpoint: what is
    charged. `step` and `total_steps` count optimizer steps. `price_micros` is for a million of those tokens,
    the tier's factor included, as it was when the job was created. Money is millionths of a US dollar.
    """

    __tablename__ = "fine_tuning_job"
    __table_args__ = (
        Index("ix_fine_tuning_job_list", "organization_id", "created_at", "id"),
        Index(
            "ix_fine_tuning_job_live",
            "organization_id",
            postgresql_where=text("status NOT IN ('succeeded', 'failed', 'cancelled')"),
        ),
        UniqueConstraint("project_id", "idempotency_key", name="uq_fine_tuning_job_idempotency_key"),
    )

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    base_model: str = Field(max_length=256)  # a model of the registry
    training_file_id: str = Field(foreign_key="file.id", max_length=64)
    validation_file_id: str | None = Field(default=None, foreign_key="file.id", max_length=64)
    method: Method = choice(Method)
    requested: dict[str, Any] = document()
    suffix: str | None = Field(default=None, max_length=64)
    seed: int = big()
    tier: str = Field(max_length=32)
    price_micros: int = big()
    job_metadata: dict[str, str] | None = document(default=None)
    idempotency_key: str | None = Field(default=None, max_length=256)
    idempotency_hash: str | None = Field(default=None, max_length=64)

    status: FineTuningStatus = choice(FineTuningStatus, default=FineTuningStatus.VALIDATING_FILES)
    hyperparameters: dict[str, Any] | None = document(default=None)
    lora: dict[str, Any] | None = document(default=None)
    estimate: dict[str, Any] | None = document(default=None)
    error: dict[str, Any] | None = document(default=None)  # code, message, param
    report_file_id: str | None = Field(default=None, max_length=64)  # every problem of its datasets
    result_file_id: str | None = Field(default=None, max_length=64)  # the metrics as CSV
    fine_tuned_model: str | None = Field(default=None, max_length=256)  # an Adapter's id
    flow_run_id: str | None = Field(default=None, max_length=64)

    gpus: int = 1
    step: int = 0
    total_steps: int | None = None
    trained_tokens: int = big(default=0)
    cost_micros: int = big(default=0)
    steps_per_second: float | None = None  # of late
    peak_memory_bytes: int | None = big(default=None)

    created_at: datetime = moment(nullable=False)
    queued_at: datetime | None = moment()
    running_at: datetime | None = moment()
    pausing_at: datetime | None = moment()
    paused_at: datetime | None = moment()
    cancelling_at: datetime | None = moment()
    cancelled_at: datetime | None = moment()
    succeeded_at: datetime | None = moment()
    failed_at: datetime | None = moment()
    swept_at: datetime | None = moment()  # its tokens and states are gone


class FineTuningEvent(SQLModel, table=True):
    """Newest first on the wire. A step that is trained again after a crash gives the same metrics; its
    first row stays."""

    __tablename__ = "fine_tuning_event"
    __table_args__ = (
        Index("ix_fine_tuning_event_list", "job_id", "created_at", "id"),
        Index(
            "uq_fine_tuning_event_step",
            "job_id",
            "step",
            unique=True,
            postgresql_where=text("type = 'metrics'"),
        ),
    )

    id: str = Field(primary_key=True, max_length=64)
    job_id: str = Field(foreign_key="fine_tuning_job.id", max_length=64)
    type: EventType = choice(EventType)
    level: EventLevel = choice(EventLevel, default=EventLevel.INFO)
    message: str
    step: int | None = None
    data: dict[str, Any] | None = document(default=None)
    created_at: datetime = moment(nullable=False)


class FineTuningCheckpoint(SQLModel, table=True):
    """A stored state of the trainer that the next attempt goes on from, and an adapter that can be used.
    The row is the truth: an object without one was written by an attempt that had lost its lease."""

    __tablename__ = "fine_tuning_checkpoint"
    __table_args__ = (UniqueConstraint("job_id", "step", name="uq_fine_tuning_checkpoint_step"),)

    id: str = Field(primary_key=True, max_length=64)
    job_id: str = Field(foreign_key="fine_tuning_job.id", max_length=64)
    step: int
    adapter_id: str = Field(max_length=256)  # `ft:…:ckpt-step-N`
    state_key: str = Field(max_length=256)  # optimizer, schedule, sampler position, RNG
    trained_tokens: int = big()
    metrics: dict[str, Any] = document()
    created_at: datetime = moment(nullable=False)
