"""Puts Prefect's run states right from our database, never the reverse.

A flow run and its job part when a machine dies between the two. What is found wrong at two looks in
a row is forced to an end, so that no run is shown as going for ever and none holds a slot of its
pool. A flow that has just ended its attempt has until the second look to end its run.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.states import Crashed
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from flows import runs
from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.engines.model import LIVE, Engine
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job, JobStatus

log = structlog.get_logger()

POOLS = ("cpu", "gpu")
PENDING_MAX = timedelta(minutes=2)  # a worker is in Pending for a second or two


async def reconcile(
    database: Database, client: PrefectClient, suspects: frozenset[str] = frozenset()
) -> frozenset[str]:
    """One look. `suspects` is what the last look returned; what is wrong again is put right."""
    theirs = [run for pool in POOLS for run in await runs.unfinished(client, pool)]
    if not theirs:
        return frozenset()
    offline = {name for pool in POOLS for name in await _offline_workers(client, pool)}
    ours = await asyncio.to_thread(_attempts_live, database, theirs)
    wrong = discrepancies(ours, theirs, offline=offline, now=clock.now())
    for run_id in wrong.keys() & suspects:
        log.warning("run_put_right", flow_run=run_id, reason=wrong[run_id])
        await runs.settle(client, run_id, Crashed(message=wrong[run_id]))
    return frozenset(wrong) - suspects


async def let_go(database_url: str, run_ids: Sequence[str]) -> None:
    """The worker of these runs is known to be dead: their jobs need not wait until the leases end. While the
    database is away they do."""
    try:
        released = await asyncio.to_thread(_expire, database_url, run_ids)
    except OperationalError:
        log.warning("database_away", runs=len(run_ids))
    else:
        log.info("jobs_let_go", jobs=released)


def _expire(database_url: str, run_ids: Sequence[str]) -> list[str]:
    database = Database(database_url)
    try:
        with database.transaction() as tx:
            return jobs.expire(tx, flow_run_ids=run_ids)
    finally:
        database.close()


def discrepancies(
    ours: Mapping[str, bool], theirs: Sequence[FlowRun], *, offline: Collection[str], now: datetime
) -> dict[str, str]:
    """Which of Prefect's unfinished runs cannot be going, and why, by run id.

    `ours` says of a run whether its attempt is live; runs that the database does not know are left
    out of it, and are wrong only if their worker is. A live attempt whose worker is shown offline
    is left alone: Prefect may be wrong after an outage of its own, our lease is not.
    """
    wrong: dict[str, str] = {}
    for flow_run in theirs:
        run_id, state = str(flow_run.id), flow_run.state
        holder = runs.holder(flow_run)
        if ours.get(run_id) is False:
            wrong[run_id] = "its attempt is over in the yard's database"
        elif holder in offline and run_id not in ours:
            wrong[run_id] = f"worker {holder} is offline"
        elif state is not None and state.is_pending() and now - state.timestamp > PENDING_MAX:
            wrong[run_id] = f"pending for more than {PENDING_MAX}"
    return wrong


async def _offline_workers(client: PrefectClient, pool: str) -> list[str]:
    workers = await client.read_workers_for_work_pool(pool)
    return [worker.name for worker in workers if worker.status is WorkerStatus.OFFLINE]


def _attempts_live(database: Database, theirs: Sequence[FlowRun]) -> dict[str, bool]:
    """What the database says of those runs that carry a job or an engine in their parameters."""
    attempts = {str(r.id): r.parameters for r in theirs if "job_id" in r.parameters}
    lives = {str(r.id): r.parameters for r in theirs if "engine_id" in r.parameters}
    with database.read() as tx:
        held = _held_attempts(tx, [parameters["job_id"] for parameters in attempts.values()])
        engines = _live_engines(tx, [parameters["engine_id"] for parameters in lives.values()])
    return {
        run_id: (parameters["job_id"], parameters.get("attempt")) in held
        for run_id, parameters in attempts.items()
    } | {run_id: parameters["engine_id"] in engines for run_id, parameters in lives.items()}


def _held_attempts(tx: Session, job_ids: Sequence[str]) -> set[tuple[str, int]]:
    held = (JobStatus.DISPATCHED, JobStatus.RUNNING)
    of_these = col(Job.id).in_(job_ids), col(Job.status).in_(held)
    return {(job_id, attempt) for job_id, attempt in tx.exec(select(Job.id, Job.attempt).where(*of_these))}


def _live_engines(tx: Session, engine_ids: Sequence[str]) -> set[str]:
    of_these = col(Engine.id).in_(engine_ids), col(Engine.status).in_(LIVE)
    return set(tx.exec(select(Engine.id).where(*of_these)))
