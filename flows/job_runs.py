"""Claimed jobs become Prefect runs: which deployment, called what, with which tags, in which queue."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from prefect.client.orchestration import PrefectClient
from sqlmodel import Session

from flows import runs
from flows.composition import Yard
from flows.runs import PREFECT_AWAY
from orchestrator import clock
from orchestrator.batches.model import Batch
from orchestrator.batches.standing import summary_of
from orchestrator.database.session import notify
from orchestrator.errors import LeaseLost
from orchestrator.files.model import File
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job, JobKind
from orchestrator.organizations.model import Organization

PREFECT_AWAY_SECONDS = 3.0
MODEL_TAGS_MAX = 5
DEPLOYMENTS = {
    JobKind.BATCH: "run-batch",
    JobKind.FINE_TUNE_FILES: "validate-fine-tune",
    JobKind.FINE_TUNE: "fine-tune",
}


@dataclass(frozen=True)
class _Subject:
    """What a job is for. `parameter` is what its flow calls that."""

    id: str
    parameter: str
    tier: str
    models: list[str] = field(default_factory=list)


async def hand_out(here: Yard, prefect: PrefectClient, claimed: Sequence[Job]) -> None:
    """A flow run for each claimed job, one after another. While Prefect is away the rest is given back, and
    the reason raised."""
    for place, job in enumerate(claimed):
        try:
            run_id = await _create_run(here, prefect, job)
        except PREFECT_AWAY:
            await asyncio.to_thread(_put_back, here, claimed[place:])
            raise
        await asyncio.to_thread(_attach, here, job, run_id)


async def _create_run(here: Yard, prefect: PrefectClient, job: Job) -> str:
    subject, organization = await asyncio.to_thread(_read, here, job)
    return await runs.create_run(
        prefect,
        deployment=DEPLOYMENTS[job.kind],
        name=f"{subject.id} attempt {job.attempt}" if job.attempt > 1 else subject.id,
        parameters={subject.parameter: subject.id, "job_id": job.id, "attempt": job.attempt},
        tags=[
            f"organization:{organization.name}",
            f"tier:{subject.tier}",
            *(f"model:{model}" for model in subject.models),
        ],
        queue=subject.tier,
        idempotency_key=f"{job.id}:{job.attempt}",
    )


def _read(here: Yard, job: Job) -> tuple[_Subject, Organization]:
    with here.database.read() as tx:
        subject = _batch(tx, job) if job.kind is JobKind.BATCH else _fine_tuning(tx, job)
        return subject, tx.get_one(Organization, job.organization_id)


def _batch(tx: Session, job: Job) -> _Subject:
    """Its models are those that the file's lines name, as its upload saw them."""
    batch = tx.get_one(Batch, job.resource_id)
    summary = summary_of(tx.get_one(File, batch.input_file_id))
    return _Subject(batch.id, "batch_id", batch.tier, sorted(summary.models)[:MODEL_TAGS_MAX])


def _fine_tuning(tx: Session, job: Job) -> _Subject:
    fine_tuning = tx.get_one(FineTuningJob, job.resource_id)
    return _Subject(fine_tuning.id, "fine_tuning_job_id", fine_tuning.tier, [fine_tuning.base_model])


def _put_back(here: Yard, claimed: Sequence[Job]) -> None:
    with here.database.transaction() as tx:
        for job in claimed:
            with contextlib.suppress(LeaseLost):  # rescued while Prefect let us wait
                jobs.release(
                    tx,
                    job_id=job.id,
                    token=job.lease_token or "",
                    not_before=clock.now() + timedelta(seconds=PREFECT_AWAY_SECONDS),
                )


def _attach(here: Yard, job: Job, run_id: str) -> None:
    with here.database.transaction() as tx:
        jobs.attach_flow_run(tx, job_id=job.id, token=job.lease_token or "", flow_run_id=run_id)
        notify(tx, runs.NEW_RUNS)
