"""The queue's verbs, in the order of a job's life. `model.py` has the picture.

Whoever holds a job proves it with the lease token; a stale token is answered with LeaseLost and
changes nothing. Machines that share a queue need clocks that agree within a second or two (NTP).
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.database.session import notify
from orchestrator.errors import LeaseLost
from orchestrator.jobs.model import Job, JobKind, JobStatus
from orchestrator.jobs.retry import FailureReason, next_attempt

CHANNEL = "jobs"  # notified when a job becomes due
CLAIM_LEASE_SECONDS = 60  # for making a flow run; Prefect may be slow
DISPATCH_LEASE_SECONDS = 600  # for a worker to begin the flow run
WITHOUT_GPU = (JobKind.BATCH, JobKind.FINE_TUNE_FILES)  # due as soon as they are queued


def enqueue(
    tx: Session,
    *,
    kind: JobKind,
    resource_id: str,
    organization_id: str,
    priority: int,
    deadline: datetime,
) -> Job:
    """Add a job that is due now, and wake the dispatcher. One job of a kind for a resource, ever."""
    now = clock.now()
    job = Job(
        id=ids.new("job_"),
        kind=kind,
        resource_id=resource_id,
        organization_id=organization_id,
        priority=priority,
        deadline=deadline,
        not_before=now,
        created_at=now,
    )
    tx.add(job)
    tx.flush()
    notify(tx, CHANNEL)
    return job


def get(tx: Session, job_id: str) -> Job:
    """One job. Raises NoResultFound."""
    return tx.get_one(Job, job_id)


def waiting(tx: Session) -> int:
    """How many jobs are dispatched and not yet begun."""
    dispatched = col(Job.status) == JobStatus.DISPATCHED
    return tx.exec(select(func.count()).select_from(Job).where(dispatched)).one()


def unfinished(tx: Session) -> bool:
    """Whether any job waits or runs."""
    going = (JobStatus.QUEUED, JobStatus.DISPATCHED, JobStatus.RUNNING)
    return tx.exec(select(Job.id).where(col(Job.status).in_(going)).limit(1)).first() is not None


def claim(tx: Session, *, limit: int, kinds: Collection[JobKind] = WITHOUT_GPU) -> list[Job]:
    """Take up to `limit` due jobs, most urgent first, each with a lease for making its flow run.

    Concurrent claimers never get the same job and never wait for each other.
    """
    return _claim(tx, col(Job.kind).in_(kinds), limit=limit)


def claim_these(tx: Session, job_ids: Collection[str]) -> list[Job]:
    """Take those of the named jobs that are due, as `claim` does: what placement has found room for."""
    return _claim(tx, col(Job.id).in_(job_ids), limit=len(job_ids))


def attach_flow_run(tx: Session, *, job_id: str, token: str, flow_run_id: str) -> bool:
    """Note the flow run of a claimed job and let it wait for a worker.

    False if the run was faster and has begun, or the claim was lost: there is nothing left to do.
    """
    try:
        job = hold(tx, job_id=job_id, token=token)
    except LeaseLost:
        return False
    job.flow_run_id = flow_run_id
    job.lease_expires_at = clock.now() + timedelta(seconds=DISPATCH_LEASE_SECONDS)
    return True


def start(
    tx: Session, *, job_id: str, attempt: int, lease_seconds: float, flow_run_id: str | None = None
) -> str | None:
    """Begin an attempt and return its lease token, a new one that only the caller knows.

    None if the attempt is not the current one any more, or was begun already: do nothing then.
    """
    job = tx.exec(
        select(Job)
        .where(
            col(Job.id) == job_id,
            col(Job.attempt) == attempt,
            col(Job.status) == JobStatus.DISPATCHED,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).first()
    if job is None:
        return None
    job.status = JobStatus.RUNNING
    job.flow_run_id = flow_run_id or job.flow_run_id
    return _lease(job, lease_seconds)


def hold(tx: Session, *, job_id: str, token: str) -> Job:
    """Lock the job until the transaction ends: what is written in it is written under the lease.

    Raises LeaseLost if the token is not the job's any more.
    """
    job = tx.exec(
        select(Job)
        .where(col(Job.id) == job_id, col(Job.lease_token) == token)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).first()
    if job is None:
        raise LeaseLost(f"job {job_id} has another holder, or none")
    return job


def heartbeat(tx: Session, *, job_id: str, token: str, lease_seconds: float) -> Job:
    """Keep the lease for another `lease_seconds`. Raises LeaseLost."""
    job = hold(tx, job_id=job_id, token=token)
    job.lease_expires_at = clock.now() + timedelta(seconds=lease_seconds)
    return job


def complete(tx: Session, *, job_id: str, token: str) -> None:
    """The work is done. Raises LeaseLost."""
    _finish(hold(tx, job_id=job_id, token=token), JobStatus.DONE)


def release(tx: Session, *, job_id: str, token: str, not_before: datetime) -> None:
    """Give the job back, unfinished and blameless: this is no failure. Raises LeaseLost."""
    _requeue(hold(tx, job_id=job_id, token=token), not_before)
    notify(tx, CHANNEL)


def fail(tx: Session, *, job_id: str, token: str, reason: FailureReason) -> bool:
    """The attempt broke. True if another will be made; else the job failed. Raises LeaseLost."""
    return _fail(hold(tx, job_id=job_id, token=token), reason)


def lock(tx: Session, *, resource_id: str, kind: JobKind) -> Job | None:
    """The job of that kind, if it has not ended, held still until the transaction ends. Who changes a
    resource together with its job locks the job first: its holder does, too."""
    return tx.exec(
        select(Job)
        .where(col(Job.resource_id) == resource_id, col(Job.kind) == kind)
        .where(col(Job.status).not_in((JobStatus.DONE, JobStatus.FAILED)))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).first()


def drop(job: Job) -> None:
    """The work is not wanted any more: whoever has the lease has lost it. The job comes from `lock`."""
    if job.status not in (JobStatus.DONE, JobStatus.FAILED):
        _finish(job, JobStatus.DONE)


def reopen(tx: Session, *, resource_id: str, kind: JobKind) -> Job:
    """Queue a job that has ended once more, due now and with a clean record. Raises NoResultFound."""
    job = tx.exec(
        select(Job)
        .where(col(Job.resource_id) == resource_id, col(Job.kind) == kind)
        .where(col(Job.status).in_((JobStatus.DONE, JobStatus.FAILED)))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    job.failures = 0
    job.failure = None
    job.finalized_at = None
    job.flow_run_id = None
    _requeue(job, clock.now())
    tx.flush()
    notify(tx, CHANNEL)
    return job


def rescue(tx: Session, *, limit: int) -> list[Job]:
    """Take up to `limit` jobs from holders whose lease ran out, and return them as they are now.

    A running job has lost its worker, which counts as a failure: it is queued again, or failed, and
    then the caller gives up what it was for. One that no worker began is queued again, blameless.
    """
    now = clock.now()
    expired = (
        select(Job)
        .where(col(Job.lease_token).is_not(None), col(Job.lease_expires_at) < now)
        .order_by(col(Job.lease_expires_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    jobs = list(tx.exec(expired))
    for job in jobs:
        if job.status is JobStatus.RUNNING:
            _fail(job, FailureReason.WORKER_LOST)
        else:
            _requeue(job, now)
    tx.flush()
    return jobs


def expire(tx: Session, *, flow_run_ids: Collection[str]) -> list[str]:
    """The holders of these flow runs are known to be dead: their leases end now, and the dispatcher is woken
    to rescue the jobs, which are returned by id.

    A holder that lives after all keeps its job if it renews its lease first, and has lost it otherwise: a
    rescued job has no token that anybody knows.
    """
    held = (
        select(Job)
        .where(col(Job.lease_token).is_not(None), col(Job.flow_run_id).in_(flow_run_ids))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    expired = list(tx.exec(held))
    for job in expired:
        job.lease_expires_at = job.created_at  # long ago, by any machine's clock
    if expired:
        notify(tx, CHANNEL)
    return [job.id for job in expired]


def _claim(tx: Session, which: ColumnElement[bool], *, limit: int) -> list[Job]:
    due = (
        select(Job)
        .where(which, col(Job.status) == JobStatus.QUEUED, col(Job.not_before) <= clock.now())
        .order_by(col(Job.priority), col(Job.deadline), col(Job.id))
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    jobs = list(tx.exec(due))
    for job in jobs:
        job.status = JobStatus.DISPATCHED
        job.attempt += 1
        job.flow_run_id = None
        _lease(job, CLAIM_LEASE_SECONDS)
    tx.flush()
    return jobs


def _fail(job: Job, reason: FailureReason) -> bool:
    job.failures += 1
    job.failure = reason
    delay = next_attempt(reason, job.failures)
    if delay is None:
        _finish(job, JobStatus.FAILED)
        return False
    _requeue(job, clock.now() + delay)
    return True


def _requeue(job: Job, not_before: datetime) -> None:
    job.status = JobStatus.QUEUED
    job.not_before = not_before
    job.lease_token = None
    job.lease_expires_at = None


def _finish(job: Job, status: JobStatus) -> None:
    job.status = status
    job.finalized_at = clock.now()
    job.lease_token = None
    job.lease_expires_at = None


def _lease(job: Job, seconds: float) -> str:
    job.lease_token = ids.new("lease_")
    job.lease_expires_at = clock.now() + timedelta(seconds=seconds)
    return job.lease_token
