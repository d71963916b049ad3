"""Fine-tuning jobs where their runs would have brought them."""

from datetime import timedelta
from typing import Any

from orchestrator import clock, ids
from orchestrator.database.session import Database
from orchestrator.fine_tuning.model import FineTuningCheckpoint, FineTuningJob
from orchestrator.fine_tuning.states import FineTuningStatus
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobKind
from tests.api.conftest import Customer

JOBS = "/v1/fine_tuning/jobs"


def change(database: Database, job_id: str, **columns: Any) -> None:
    """Put a job where its run would have brought it."""
    with database.transaction() as tx:
        job = tx.get_one(FineTuningJob, job_id)
        for name, value in columns.items():
            setattr(job, name, value)


def queued(database: Database, customer: Customer, **body: Any) -> str:
    """A new job whose files are read, and which waits for GPUs."""
    job_id = customer.fine_tuning_id(**body)
    make_queued(database, job_id)
    return job_id


def make_queued(database: Database, job_id: str) -> None:
    """What the reading of a job's files does in the end."""
    with database.transaction() as tx:
        job = tx.get_one(FineTuningJob, job_id)
        job.status, job.queued_at, job.total_steps = FineTuningStatus.QUEUED, clock.now(), 100
        job.estimate = {"duration_seconds": 60.0}
        files = jobs.lock(tx, resource_id=job_id, kind=JobKind.FINE_TUNE_FILES)
        assert files
        jobs.drop(files)
        jobs.enqueue(
            tx,
            kind=JobKind.FINE_TUNE,
            resource_id=job_id,
            organization_id=job.organization_id,
            priority=10,
            deadline=clock.now(),
        )


def checkpoint(database: Database, job_id: str, step: int) -> str:
    """A checkpoint's row, without anything in the store."""
    with database.transaction() as tx:
        row = FineTuningCheckpoint(
            id=ids.new("ftckpt_"),
            job_id=job_id,
            step=step,
            adapter_id=f"ft:yard-smoke:acme::{job_id[-8:]}:ckpt-step-{step}",
            state_key="x/y",
            trained_tokens=step * 10,
            metrics={"step": step, "train_loss": 1.0 / step},
            created_at=clock.now() + timedelta(microseconds=step),
        )
        tx.add(row)
        return row.id
