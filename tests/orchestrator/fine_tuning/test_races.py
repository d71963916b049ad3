"""Two sessions at one fine-tuning job at the same moment: whoever is second sees what the first has done."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from orchestrator.database.session import Database
from orchestrator.errors import Conflict, LeaseLost, QuotaExceeded
from orchestrator.fine_tuning import finalize, progress, service
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.states import FineTuningStatus as S
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobKind, JobStatus
from orchestrator.metering.model import Usage
from tests.orchestrator.fine_tuning.jobs_at import (
    a_result,
    an_enterprise,
    at_its_files,
    create,
    dataset,
    queue_of,
    queued,
    running,
    stored,
)

WAIT_SECONDS = 10

Act = Callable[[Session], object]


def one_after_the_other(database: Database, first: Act, second: Act) -> object:
    """Run `first`, and begin `second` before it commits; what `second` returned or raised."""
    begun = Event()

    def follow() -> object:
        with database.transaction() as tx:
            begun.set()
            return second(tx)

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as tx:
            first(tx)
            tx.flush()
            following = pool.submit(follow)
            assert begun.wait(WAIT_SECONDS)
            _until_somebody_waits_for_a_lock(database)
        error = following.exception(WAIT_SECONDS)
        return error or following.result()


def _until_somebody_waits_for_a_lock(database: Database) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    for _ in range(1_000):
        with database.read() as tx:
            if tx.execute(waiting).scalar_one():
                return
            tx.execute(text("SELECT pg_sleep(0.005)"))
    raise AssertionError("nobody waits: the second act does not meet the first")


def look(database: Database, job_id: str) -> tuple[S, JobStatus]:
    with database.read() as tx:
        return tx.get_one(FineTuningJob, job_id).status, queue_of(tx, job_id).status


def test_a_cancel_that_meets_the_end_of_validation_takes_the_training_out_of_the_queue(
    database: Database,
) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = at_its_files(tx, principal)
    facts = {"hyperparameters": {}, "lora": {}, "estimate": {}, "total_steps": 3, "report": None}
    cancelled = one_after_the_other(
        database,
        lambda tx: progress.validated(tx, lease, **facts),
        lambda tx: service.cancel(tx, principal, lease.fine_tuning_id),
    )
    assert isinstance(cancelled, FineTuningJob)
    assert look(database, lease.fine_tuning_id) == (S.CANCELLED, JobStatus.DONE)


def test_the_end_of_validation_that_meets_a_cancel_has_lost_its_lease(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = at_its_files(tx, principal)
    facts = {"hyperparameters": {}, "lora": {}, "estimate": {}, "total_steps": 3, "report": None}
    lost = one_after_the_other(
        database,
        lambda tx: service.cancel(tx, principal, lease.fine_tuning_id),
        lambda tx: progress.validated(tx, lease, **facts),
    )
    assert isinstance(lost, LeaseLost)
    with database.read() as tx:
        assert tx.get_one(FineTuningJob, lease.fine_tuning_id).status is S.CANCELLED
        assert jobs.lock(tx, resource_id=lease.fine_tuning_id, kind=JobKind.FINE_TUNE) is None


def test_a_pause_that_meets_the_start_stops_the_trainer(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        job_id = queued(tx, principal)
        (claimed,) = jobs.claim_these(tx, [queue_of(tx, job_id).id])
    leases = []

    def start(tx: Session) -> None:
        lease = progress.begin(tx, job_id=claimed.id, attempt=1, flow_run_id="run")
        assert lease is not None
        progress.started(tx, lease, step=0, total_steps=30)
        leases.append(lease)

    one_after_the_other(database, start, lambda tx: service.pause(tx, principal, job_id))
    assert look(database, job_id) == (S.PAUSING, JobStatus.RUNNING)
    with database.transaction() as tx:
        assert progress.stopped(tx, leases[0]) is S.PAUSED


def test_an_attempt_that_begins_while_its_job_is_paused_does_nothing(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        job_id = queued(tx, principal)
        (claimed,) = jobs.claim_these(tx, [queue_of(tx, job_id).id])
    begun = one_after_the_other(
        database,
        lambda tx: service.pause(tx, principal, job_id),
        lambda tx: progress.begin(tx, job_id=claimed.id, attempt=1, flow_run_id="run"),
    )
    assert begun is None
    assert look(database, job_id) == (S.PAUSED, JobStatus.DONE)


def test_a_cancel_that_meets_success_is_too_late(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        progress.adopt_checkpoint(tx, lease, stored(2))
    late = one_after_the_other(
        database,
        lambda tx: finalize.succeed(tx, lease, card={}, metrics=a_result()),
        lambda tx: service.cancel(tx, principal, lease.fine_tuning_id),
    )
    assert isinstance(late, Conflict)
    assert look(database, lease.fine_tuning_id) == (S.SUCCEEDED, JobStatus.DONE)


@pytest.mark.parametrize("verb", [service.cancel, service.resume])
def test_two_customers_keys_at_once_do_it_once(database: Database, verb) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        progress.adopt_checkpoint(tx, lease, stored(2))
        service.pause(tx, principal, lease.fine_tuning_id)
        progress.stopped(tx, lease)
    second = one_after_the_other(
        database,
        lambda tx: verb(tx, principal, lease.fine_tuning_id),
        lambda tx: verb(tx, principal, lease.fine_tuning_id),
    )
    assert isinstance(second, FineTuningJob)
    with database.read() as tx:
        assert len(tx.exec(select(Usage)).all()) == (1 if verb is service.cancel else 0)


def test_a_cancel_that_meets_the_rescue_of_a_lost_training_ends_it(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        job = jobs.get(tx, lease.job_id)
        job.lease_expires_at = job.created_at

    def rescue(tx: Session) -> None:
        (rescued,) = jobs.rescue(tx, limit=10)
        progress.rescued(tx, rescued)

    one_after_the_other(database, rescue, lambda tx: service.cancel(tx, principal, lease.fine_tuning_id))
    assert look(database, lease.fine_tuning_id) == (S.CANCELLED, JobStatus.DONE)


def test_the_last_job_that_a_tier_allows_is_given_once(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        for _ in range(3):
            create(tx, principal)
        files = [dataset(tx, principal) for _ in range(2)]
    refused = one_after_the_other(
        database,
        lambda tx: create(tx, principal, training_file=files[0]),
        lambda tx: create(tx, principal, training_file=files[1]),
    )
    assert isinstance(refused, QuotaExceeded)
