"""Runs that ended in Prefect before their flow began: cancelled on its pages, or lost with a worker.

The flow itself tells the database everything else, so only what never came that far is looked for here.
"""

import asyncio

from prefect.client.orchestration import PrefectClient
from sqlmodel import Session, col, select

from flows import runs
from orchestrator import clock
from orchestrator.batches import service as batches
from orchestrator.batches.model import Batch
from orchestrator.database.session import Database
from orchestrator.engines import service as engines
from orchestrator.engines.model import Engine, EngineStatus
from orchestrator.fine_tuning import service as fine_tuning
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job, JobKind, JobStatus

LOOKED_AT_MAX = 500


async def notice_unbegun(database: Database, client: PrefectClient) -> None:
    """Queue such jobs again, a cancelled one with what it is for cancelled; give such engines up."""
    waiting = await asyncio.to_thread(_waiting, database)
    if not waiting:
        return
    states = await runs.run_states(client, waiting)
    over = {run_id: state.is_cancelled() for run_id, state in states.items() if state.is_final()}
    if over:
        await asyncio.to_thread(_put_right, database, over)


def _waiting(database: Database) -> list[str]:
    with database.read() as tx:
        of_jobs = select(Job.flow_run_id).where(
            Job.status == JobStatus.DISPATCHED, col(Job.flow_run_id).is_not(None)
        )
        of_engines = select(Engine.flow_run_id).where(
            Engine.status == EngineStatus.REQUESTED, col(Engine.flow_run_id).is_not(None)
        )
        found = [*tx.exec(of_jobs.limit(LOOKED_AT_MAX)), *tx.exec(of_engines.limit(LOOKED_AT_MAX))]
    return [run_id for run_id in found if run_id is not None]


def _put_right(database: Database, over: dict[str, bool]) -> None:
    """`over` says of each ended run whether it was cancelled."""
    with database.transaction() as tx:
        for job in tx.exec(
            select(Job)
            .where(col(Job.flow_run_id).in_(over), Job.status == JobStatus.DISPATCHED)
            .with_for_update(skip_locked=True)
        ):
            if over[job.flow_run_id or ""]:
                _cancel(tx, job)
            if job.status is JobStatus.DISPATCHED:
                jobs.release(tx, job_id=job.id, token=job.lease_token or "", not_before=clock.now())
        for engine in tx.exec(
            select(Engine)
            .where(col(Engine.flow_run_id).in_(over), Engine.status == EngineStatus.REQUESTED)
            .with_for_update(skip_locked=True)
        ):
            engines.died(tx, engine, last_words=f"{engines.LOST_WORDS} (its run never began)")


def _cancel(tx: Session, job: Job) -> None:
    """What the job is for is not wanted any more; a fine-tuning job leaves the queue with that."""
    if job.kind is JobKind.BATCH:
        batches.request_cancel(tx, tx.get_one(Batch, job.resource_id), actor="prefect")
    else:
        fine_tuning.request_cancel(tx, job.resource_id, actor="prefect")
