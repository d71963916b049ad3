"""The internal queue: one Job is one unit of scheduled work, whatever resource it is for.

queued --claim--> dispatched --start--> running --complete--> done
   ^                  |                    |  \\--fail-------> failed
   |                  '------ release -----+
   '------------------------- rescue ------'      (the lease ran out: the holder is dead)

A lease (token, expiry) says who may act for the job. Whoever's token is not the row's has lost it.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import choice, moment


class JobKind(StrEnum):
    BATCH = "batch"
    FINE_TUNE_FILES = "fine_tune_files"  # the datasets of a fine-tuning job, read and counted
    FINE_TUNE = "fine_tune"  # its training; handed out by placement, as GPUs become free


class JobStatus(StrEnum):
    QUEUED = "queued"  # waits for the dispatcher, not before `not_before`
    DISPATCHED = "dispatched"  # a Prefect run exists for this attempt; its flow has not begun
    RUNNING = "running"  # a flow holds the lease and heartbeats
    DONE = "done"
    FAILED = "failed"  # attempts used up, or a failure that another attempt cannot mend


class Job(SQLModel, table=True):
    """`priority` is smaller for sooner, as in Prefect's queues; `deadline` breaks ties.

    `attempt` numbers the claims and never repeats, so it names what an attempt leaves behind;
    `failures` counts those that ended badly, and is bounded. A release adds to the first alone."""

    __tablename__ = "job"
    __table_args__ = (
        Index(
            "ix_job_claim",
            "priority",
            "deadline",
            "id",
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_job_lease", "lease_expires_at", postgresql_where=text("lease_token IS NOT NULL")),
        UniqueConstraint("resource_id", "kind", name="uq_job_resource_kind"),
        CheckConstraint(
            "(status IN ('dispatched', 'running')) = (lease_token IS NOT NULL)",
            name="ck_job_lease_while_held",
        ),
    )

    id: str = Field(primary_key=True, max_length=64)
    kind: JobKind = choice(JobKind)
    resource_id: str = Field(max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    status: JobStatus = choice(JobStatus, default=JobStatus.QUEUED)
    priority: int
    deadline: datetime = moment(nullable=False)
    attempt: int = 0
    failures: int = 0
    not_before: datetime = moment(nullable=False)
    lease_token: str | None = Field(default=None, max_length=64)
    lease_expires_at: datetime | None = moment()
    flow_run_id: str | None = Field(default=None, max_length=64)
    failure: str | None = None
    created_at: datetime = moment(nullable=False)
    finalized_at: datetime | None = moment()
