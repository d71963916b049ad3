"""Trainings whose flow run has ended in Prefect before its flow began."""

from typing import Any, cast

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Crashed, Scheduled

from flows import runs, unbegun
from orchestrator.database.session import Database
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobKind, JobStatus
from tests.orchestrator.fine_tuning import jobs_at

RUN = "8a3f2a0e-9b1f-4f6e-8f8e-0d4f9a6f1c11"


def dispatched(database: Database, kind: JobKind) -> str:
    """A fine-tuning job with a flow run, at its files or at its training."""
    principal = jobs_at.an_enterprise(database)
    with database.transaction() as tx:
        if kind is JobKind.FINE_TUNE_FILES:
            job_id = jobs_at.create(tx, principal).id
            (claimed,) = jobs.claim(tx, limit=1)
        else:
            job_id = jobs_at.queued(tx, principal)
            (claimed,) = jobs.claim_these(tx, [jobs_at.queue_of(tx, job_id).id])
        assert jobs.attach_flow_run(tx, job_id=claimed.id, token=claimed.lease_token or "", flow_run_id=RUN)
    return job_id


async def noticed(database: Database, state: State[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Look while Prefect shows the run in this state."""

    async def run_states(*_: Any) -> dict[str, State[Any]]:
        return {RUN: state}

    monkeypatch.setattr(runs, "run_states", run_states)
    await unbegun.notice_unbegun(database, cast(PrefectClient, None))


def statuses(database: Database, job_id: str, kind: JobKind) -> tuple[str, JobStatus]:
    with database.read() as tx:
        return tx.get_one(FineTuningJob, job_id).status, jobs_at.queue_of(tx, job_id, kind).status


@pytest.mark.parametrize("kind", [JobKind.FINE_TUNE_FILES, JobKind.FINE_TUNE])
async def test_one_that_was_cancelled_there_is_cancelled(
    kind: JobKind, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = dispatched(database, kind)
    await noticed(database, Cancelled(), monkeypatch)
    assert statuses(database, job_id, kind) == ("cancelled", JobStatus.DONE)


@pytest.mark.parametrize("kind", [JobKind.FINE_TUNE_FILES, JobKind.FINE_TUNE])
async def test_one_that_was_lost_is_queued_again(
    kind: JobKind, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = dispatched(database, kind)
    before, _ = statuses(database, job_id, kind)
    await noticed(database, Crashed(), monkeypatch)
    assert statuses(database, job_id, kind) == (before, JobStatus.QUEUED)


async def test_one_that_waits_goes_on_waiting(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = dispatched(database, JobKind.FINE_TUNE)
    await noticed(database, Scheduled(), monkeypatch)
    assert statuses(database, job_id, JobKind.FINE_TUNE) == ("queued", JobStatus.DISPATCHED)
