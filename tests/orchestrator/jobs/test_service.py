"""The queue on a real Postgres, with real contenders. Time is moved by hand, never waited for."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy.exc import IntegrityError, NoResultFound

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.errors import LeaseLost
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job, JobKind, JobStatus
from orchestrator.jobs.retry import PATIENCE, FailureReason
from tests.factories import make_job, make_organization

LEASE_SECONDS = 30
DAY = timedelta(days=1)


class Time:
    """A clock that stands still until told to move."""

    def __init__(self) -> None:
        self.at = clock.now()

    def now(self) -> datetime:
        return self.at

    def pass_seconds(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "now", time.now)
    return time


def claim_one(database: Database) -> Job:
    with database.transaction() as tx:
        (job,) = jobs.claim(tx, limit=1)
    return job


def begin_one(database: Database) -> tuple[Job, str]:
    job = claim_one(database)
    with database.transaction() as tx:
        token = jobs.start(tx, job_id=job.id, attempt=job.attempt, lease_seconds=LEASE_SECONDS)
    assert token is not None
    return job, token


def look(database: Database, job_id: str) -> Job:
    with database.read() as tx:
        return jobs.get(tx, job_id)


# From the queue to a claim.


def test_an_enqueued_job_is_claimed_once(database: Database):
    with database.transaction() as tx:
        organization = make_organization(tx)
        added = jobs.enqueue(
            tx,
            kind=JobKind.BATCH,
            resource_id="batch_1",
            organization_id=organization.id,
            priority=100,
            deadline=clock.now() + DAY,
        )
    claimed = claim_one(database)
    assert (claimed.id, claimed.status, claimed.attempt) == (added.id, JobStatus.DISPATCHED, 1)
    with database.transaction() as tx:
        assert jobs.claim(tx, limit=1) == []
        assert jobs.waiting(tx) == 1


def test_a_resource_has_one_job(database: Database):
    with database.transaction() as tx:
        make_job(tx, resource_id="batch_1")
    with pytest.raises(IntegrityError), database.transaction() as tx:
        make_job(tx, resource_id="batch_1")


def test_claims_go_by_priority_and_then_by_deadline(database: Database):
    soon, late = clock.now() + DAY, clock.now() + 7 * DAY
    with database.transaction() as tx:
        for priority, deadline in ((200, soon), (100, late), (100, soon), (200, late)):
            make_job(tx, priority=priority, deadline=deadline)
    with database.transaction() as tx:
        claimed = [(job.priority, job.deadline) for job in jobs.claim(tx, limit=10)]
    assert claimed == [(100, soon), (100, late), (200, soon), (200, late)]


def test_a_job_is_not_claimed_before_its_time(database: Database, time: Time):
    with database.transaction() as tx:
        make_job(tx, not_before=time.now() + timedelta(seconds=5))
        assert jobs.claim(tx, limit=1) == []
        time.pass_seconds(5)
        assert len(jobs.claim(tx, limit=1)) == 1


def test_a_claim_of_nothing_takes_nothing(database: Database):
    with database.transaction() as tx:
        make_job(tx)
        assert jobs.claim(tx, limit=0) == []


def test_of_two_claimers_one_gets_the_job_and_the_other_does_not_wait(database: Database):
    """The second claims while the first has not committed."""
    with database.transaction() as tx:
        make_job(tx)
    with database.transaction() as first, database.transaction() as second:
        assert len(jobs.claim(first, limit=1)) == 1
        assert jobs.claim(second, limit=1) == []


def test_many_claimers_share_many_jobs_each_once(database: Database):
    """100 jobs enqueued and claimed by four threads at the same time."""
    threads, jobs_each = 4, 25
    with database.transaction() as tx:
        organization = make_organization(tx)
    ready = Barrier(threads)

    def enqueue_and_claim(number: int) -> list[str]:
        ready.wait()
        claimed: list[str] = []
        for n in range(jobs_each):
            with database.transaction() as tx:
                make_job(tx, organization=organization, resource_id=f"batch_{number}_{n}")
            with database.transaction() as tx:
                claimed += [job.id for job in jobs.claim(tx, limit=2)]
        return claimed

    with ThreadPoolExecutor(threads) as pool:
        claimed = [job_id for ids in pool.map(enqueue_and_claim, range(threads)) for job_id in ids]
    with database.transaction() as tx:
        claimed += [job.id for job in jobs.claim(tx, limit=threads * jobs_each)]
    assert len(claimed) == threads * jobs_each
    assert set(Counter(claimed).values()) == {1}


# From a claim to a running attempt.


def test_a_claimed_job_waits_for_its_flow_run_to_begin(database: Database, time: Time):
    with database.transaction() as tx:
        make_job(tx)
    job = claim_one(database)
    with database.transaction() as tx:
        assert jobs.attach_flow_run(tx, job_id=job.id, token=job.lease_token or "", flow_run_id="run-1")
    seen = look(database, job.id)
    assert seen.flow_run_id == "run-1"
    assert seen.lease_expires_at == time.now() + timedelta(seconds=jobs.DISPATCH_LEASE_SECONDS)


def test_a_flow_run_that_begins_before_it_is_attached_keeps_its_lease(database: Database):
    with database.transaction() as tx:
        make_job(tx)
    job = claim_one(database)
    with database.transaction() as tx:
        token = jobs.start(tx, job_id=job.id, attempt=1, lease_seconds=LEASE_SECONDS, flow_run_id="run-1")
    with database.transaction() as tx:
        claim_token = job.lease_token or ""
        assert not jobs.attach_flow_run(tx, job_id=job.id, token=claim_token, flow_run_id="run-1")
    seen = look(database, job.id)
    assert (seen.lease_token, seen.flow_run_id) == (token, "run-1")


def test_an_attempt_begins_once(database: Database):
    with database.transaction() as tx:
        make_job(tx)
    job, _ = begin_one(database)
    with database.transaction() as tx:
        assert jobs.start(tx, job_id=job.id, attempt=1, lease_seconds=LEASE_SECONDS) is None


def test_of_two_runs_of_one_attempt_that_begin_together_one_does(database: Database):
    with database.transaction() as tx:
        make_job(tx)
    job = claim_one(database)
    ready = Barrier(2)

    def begin(_: int) -> str | None:
        ready.wait()
        with database.transaction() as tx:
            return jobs.start(tx, job_id=job.id, attempt=1, lease_seconds=LEASE_SECONDS)

    with ThreadPoolExecutor(2) as pool:
        tokens = list(pool.map(begin, range(2)))
    assert tokens.count(None) == 1


def test_a_superseded_attempt_does_not_begin(database: Database, time: Time):
    with database.transaction() as tx:
        make_job(tx)
    claim_one(database)
    time.pass_seconds(jobs.CLAIM_LEASE_SECONDS + 1)
    with database.transaction() as tx:
        jobs.rescue(tx, limit=10)
    second = claim_one(database)
    with database.transaction() as tx:
        assert jobs.start(tx, job_id=second.id, attempt=1, lease_seconds=LEASE_SECONDS) is None
        assert jobs.start(tx, job_id=second.id, attempt=2, lease_seconds=LEASE_SECONDS)


# Under the lease.


def test_a_heartbeat_keeps_the_lease(database: Database, time: Time):
    with database.transaction() as tx:
        make_job(tx)
    job, token = begin_one(database)
    for _ in range(3):
        time.pass_seconds(LEASE_SECONDS - 1)
        with database.transaction() as tx:
            jobs.heartbeat(tx, job_id=job.id, token=token, lease_seconds=LEASE_SECONDS)
            assert jobs.rescue(tx, limit=10) == []


def test_a_stale_token_adopts_nothing(database: Database, time: Time):
    with database.transaction() as tx:
        make_job(tx)
    job, stale = begin_one(database)
    time.pass_seconds(LEASE_SECONDS + 1)
    with database.transaction() as tx:
        jobs.rescue(tx, limit=10)
    time.pass_seconds(PATIENCE[FailureReason.WORKER_LOST].delay_seconds)
    _, current = begin_one(database)
    before = look(database, job.id).model_dump()
    for act in (
        lambda tx: jobs.hold(tx, job_id=job.id, token=stale),
        lambda tx: jobs.heartbeat(tx, job_id=job.id, token=stale, lease_seconds=LEASE_SECONDS),
        lambda tx: jobs.complete(tx, job_id=job.id, token=stale),
        lambda tx: jobs.release(tx, job_id=job.id, token=stale, not_before=time.now()),
        lambda tx: jobs.fail(tx, job_id=job.id, token=stale, reason=FailureReason.INTERNAL),
    ):
        with pytest.raises(LeaseLost), database.transaction() as tx:
            act(tx)
    assert look(database, job.id).model_dump() == before
    with database.transaction() as tx:
        jobs.complete(tx, job_id=job.id, token=current)


def test_a_rescuer_leaves_alone_what_its_holder_is_writing(database: Database, time: Time):
    """The holder is late but not dead: it has the row locked when the rescuer comes."""
    with database.transaction() as tx:
        make_job(tx)
    job, token = begin_one(database)
    time.pass_seconds(LEASE_SECONDS + 1)
    with database.transaction() as holder:
        jobs.heartbeat(holder, job_id=job.id, token=token, lease_seconds=LEASE_SECONDS)
        holder.flush()
        with database.transaction() as rescuer:
            assert jobs.rescue(rescuer, limit=10) == []
    assert look(database, job.id).lease_token == token


# The ways it ends.


def test_a_completed_job_is_over(database: Database, time: Time):
    with database.transaction() as tx:
        make_job(tx)
    job, token = begin_one(database)
    with database.transaction() as tx:
        jobs.complete(tx, job_id=job.id, token=token)
    seen = look(database, job.id)
    assert (seen.status, seen.lease_token, seen.finalized_at) == (JobStatus.DONE, None, time.now())
    with database.transaction() as tx:
        assert jobs.claim(tx, limit=10) == []


def test_a_release_counts_no_failure_and_gives_the_next_attempt_a_number_of_its_own(
    database: Database, time: Time
):
    with database.transaction() as tx:
        make_job(tx)
    for attempt in (1, 2, 3):
        job, token = begin_one(database)
        assert job.attempt == attempt
        with database.transaction() as tx:
            jobs.release(tx, job_id=job.id, token=token, not_before=time.now() + timedelta(seconds=3))
        with database.transaction() as tx:
            assert jobs.claim(tx, limit=1) == []
        time.pass_seconds(3)
    assert look(database, job.id).failures == 0


@pytest.mark.parametrize("reason", FailureReason)
def test_a_failing_job_is_tried_again_until_its_attempts_are_used_up(
    database: Database, time: Time, reason: FailureReason
):
    patience = PATIENCE[reason]
    with database.transaction() as tx:
        make_job(tx)
    for attempt in range(1, patience.attempts_max + 1):
        time.pass_seconds(patience.delay_seconds_max)
        job, token = begin_one(database)
        with database.transaction() as tx:
            again = jobs.fail(tx, job_id=job.id, token=token, reason=reason)
        assert again == (attempt < patience.attempts_max)
    seen = look(database, job.id)
    assert (seen.status, seen.failure, seen.finalized_at) == (JobStatus.FAILED, reason, time.now())


def test_a_failed_attempt_is_not_repeated_at_once(database: Database, time: Time):
    with database.transaction() as tx:
        make_job(tx)
    job, token = begin_one(database)
    with database.transaction() as tx:
        jobs.fail(tx, job_id=job.id, token=token, reason=FailureReason.STORE_UNAVAILABLE)
        tx.flush()
        assert jobs.claim(tx, limit=1) == []
    delay_seconds = PATIENCE[FailureReason.STORE_UNAVAILABLE].delay_seconds
    assert look(database, job.id).not_before == time.now() + timedelta(seconds=delay_seconds)


def test_a_job_whose_holder_died_is_rescued_and_the_death_is_counted(database: Database, time: Time):
    with database.transaction() as tx:
        make_job(tx)
    job, _ = begin_one(database)
    with database.transaction() as tx:
        assert jobs.rescue(tx, limit=10) == []
    time.pass_seconds(LEASE_SECONDS + 1)
    with database.transaction() as tx:
        (rescued,) = jobs.rescue(tx, limit=10)
    assert (rescued.id, rescued.status, rescued.failures) == (job.id, JobStatus.QUEUED, 1)
    assert rescued.failure == FailureReason.WORKER_LOST


def test_a_job_that_no_worker_began_is_rescued_without_blame(database: Database, time: Time):
    with database.transaction() as tx:
        make_job(tx)
    claim_one(database)
    time.pass_seconds(jobs.CLAIM_LEASE_SECONDS + 1)
    with database.transaction() as tx:
        (rescued,) = jobs.rescue(tx, limit=10)
    assert (rescued.status, rescued.failures, rescued.failure) == (JobStatus.QUEUED, 0, None)


def test_a_job_that_keeps_losing_its_workers_fails(database: Database, time: Time):
    with database.transaction() as tx:
        make_job(tx)
    for _ in range(PATIENCE[FailureReason.WORKER_LOST].attempts_max):
        time.pass_seconds(PATIENCE[FailureReason.WORKER_LOST].delay_seconds_max)
        begin_one(database)
        time.pass_seconds(LEASE_SECONDS + 1)
        with database.transaction() as tx:
            (rescued,) = jobs.rescue(tx, limit=10)
    assert rescued.status is JobStatus.FAILED


def test_a_rescuer_takes_no_more_than_it_asked_for(database: Database, time: Time):
    with database.transaction() as tx:
        for _ in range(3):
            make_job(tx)
        jobs.claim(tx, limit=3)
    time.pass_seconds(jobs.CLAIM_LEASE_SECONDS + 1)
    with database.transaction() as tx:
        assert len(jobs.rescue(tx, limit=2)) == 2
        assert len(jobs.rescue(tx, limit=2)) == 1


def test_the_database_itself_refuses_a_running_job_without_a_lease(database: Database):
    unheld = pytest.raises(IntegrityError, match="ck_job_lease_while_held")
    with unheld, database.transaction() as tx:
        make_job(tx, status=JobStatus.RUNNING)


def test_there_is_no_job_of_an_unknown_id(database: Database):
    with pytest.raises(NoResultFound), database.read() as tx:
        jobs.get(tx, "job_unknown")


# Kinds, and what becomes of a job that is not wanted any more.


def test_a_job_that_needs_gpus_is_claimed_by_name_or_by_kind_alone(database: Database):
    with database.transaction() as tx:
        training = make_job(tx, kind=JobKind.FINE_TUNE)
        batch = make_job(tx)
        files = make_job(tx, kind=JobKind.FINE_TUNE_FILES)
    with database.transaction() as tx:
        assert {job.id for job in jobs.claim(tx, limit=9)} == {batch.id, files.id}
        (claimed,) = jobs.claim_these(tx, [training.id, batch.id, "job_unknown"])
        assert (claimed.id, claimed.attempt) == (training.id, 1)
        assert jobs.claim_these(tx, [training.id]) == []


def test_a_resource_has_one_job_of_each_kind(database: Database):
    with database.transaction() as tx:
        make_job(tx, resource_id="ftjob-1", kind=JobKind.FINE_TUNE_FILES)
        make_job(tx, resource_id="ftjob-1", kind=JobKind.FINE_TUNE)
    with pytest.raises(IntegrityError, match="uq_job_resource_kind"), database.transaction() as tx:
        make_job(tx, resource_id="ftjob-1", kind=JobKind.FINE_TUNE)


def test_a_dropped_job_takes_the_lease_from_its_holder(database: Database):
    with database.transaction() as tx:
        make_job(tx)
    job, token = begin_one(database)
    with database.transaction() as tx:
        found = jobs.lock(tx, resource_id=job.resource_id, kind=job.kind)
        assert found is not None
        jobs.drop(found)
        assert jobs.lock(tx, resource_id=job.resource_id, kind=JobKind.FINE_TUNE) is None
    with pytest.raises(LeaseLost), database.transaction() as tx:
        jobs.heartbeat(tx, job_id=job.id, token=token, lease_seconds=LEASE_SECONDS)
    assert look(database, job.id).status is JobStatus.DONE


def test_a_job_that_has_failed_stays_failed_when_it_is_dropped(database: Database):
    with database.transaction() as tx:
        job = make_job(tx, status=JobStatus.FAILED)
        jobs.drop(job)
        assert job.status is JobStatus.FAILED


@pytest.mark.parametrize("status", [JobStatus.DONE, JobStatus.FAILED])
def test_a_reopened_job_is_due_with_a_clean_record_and_a_new_attempt(database: Database, status: JobStatus):
    with database.transaction() as tx:
        job = make_job(tx, status=status, attempt=3, failures=2, failure="internal", finalized_at=clock.now())
    with database.transaction() as tx:
        jobs.reopen(tx, resource_id=job.resource_id, kind=job.kind)
    again = claim_one(database)
    assert (again.id, again.attempt, again.failures, again.failure) == (job.id, 4, 0, None)
    assert again.finalized_at is None


def test_a_job_that_has_not_ended_cannot_be_reopened(database: Database):
    with database.transaction() as tx:
        job = make_job(tx)
    with pytest.raises(NoResultFound), database.transaction() as tx:
        jobs.reopen(tx, resource_id=job.resource_id, kind=job.kind)
