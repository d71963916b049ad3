"""What a restarted worker does for the jobs of the runs that its earlier life has left."""

import pytest

from flows.reconcile import let_go
from orchestrator.database.session import Database
from orchestrator.errors import LeaseLost
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job, JobStatus
from tests.factories import make_job


def running(database: Database, flow_run_id: str) -> tuple[str, str]:
    """The id of a job whose flow has begun, and its lease token."""
    with database.transaction() as tx:
        job = make_job(tx)
        jobs.claim(tx, limit=1)
        token = jobs.start(tx, job_id=job.id, attempt=1, lease_seconds=600, flow_run_id=flow_run_id)
        assert token is not None
        return job.id, token


async def test_jobs_of_a_dead_worker_are_rescued_at_once_and_no_others(database: Database) -> None:
    left, _ = running(database, "run-1")
    going, _ = running(database, "run-2")
    await let_go(database.url, ["run-1", "run-of-an-engine"])
    with database.transaction() as tx:
        assert [job.id for job in jobs.rescue(tx, limit=10)] == [left]
        assert tx.get_one(Job, left).status is JobStatus.QUEUED
        assert tx.get_one(Job, going).status is JobStatus.RUNNING


async def test_a_driver_that_was_not_dead_writes_nothing_after_the_rescue(database: Database) -> None:
    job_id, token = running(database, "run-1")
    await let_go(database.url, ["run-1"])
    with database.transaction() as tx:
        jobs.rescue(tx, limit=10)
    with pytest.raises(LeaseLost), database.transaction() as tx:
        jobs.heartbeat(tx, job_id=job_id, token=token, lease_seconds=20)


async def test_a_worker_starts_while_the_database_is_away() -> None:
    await let_go("postgresql://yard@127.0.0.1:1/yard", ["run-1"])
