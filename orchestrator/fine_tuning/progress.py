"""The run side of a fine-tuning job: what those who read its files and train it write and read, always under
the lease of their attempt.

Every function that writes first holds the lease, so one that was taken for dead changes nothing. A job that
is cancelled or paused while nobody trains it leaves the queue, and whoever works on it loses the lease.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlmodel import Session

from orchestrator import clock
from orchestrator.fine_tuning import checkpoints, endings, events, holding, results
from orchestrator.fine_tuning.checkpoints import StoredCheckpoint
from orchestrator.fine_tuning.events import StepMetrics
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.results import ResultFile
from orchestrator.fine_tuning.states import FINE_TUNING, FineTuningStatus, FineTuningTrigger
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job, JobKind, JobStatus
from orchestrator.jobs.retry import FailureReason
from orchestrator.metering.prices import dollars, training_cost_micros
from orchestrator.spending import holds
from orchestrator.state_machine import transition

LEASE_SECONDS = 20
SPEND_LIMIT_REACHED = "spend_limit_reached"

_S, _T = FineTuningStatus, FineTuningTrigger


@dataclass(frozen=True)
class FineTuningLease:
    """The right of one attempt to act for one fine-tuning job; `job_id` is its queue's."""

    fine_tuning_id: str
    job_id: str
    attempt: int
    token: str


class Stop(StrEnum):
    """Why a trainer stops before its last step, once it has stored a checkpoint."""

    CANCEL = "cancel"
    PAUSE = "pause"


def begin(tx: Session, *, job_id: str, attempt: int, flow_run_id: str) -> FineTuningLease | None:
    """Take the lease of this attempt, at the files or at the training, or None if the attempt is not the
    current one any more."""
    token = jobs.start(
        tx, job_id=job_id, attempt=attempt, lease_seconds=LEASE_SECONDS, flow_run_id=flow_run_id
    )
    if token is None:
        return None
    lease = FineTuningLease(jobs.get(tx, job_id).resource_id, job_id, attempt, token)
    held(tx, lease).flow_run_id = flow_run_id
    return lease


def beat(tx: Session, lease: FineTuningLease) -> Stop | None:
    """A heartbeat: renew the lease, read whether to stop. Raises LeaseLost."""
    jobs.heartbeat(tx, job_id=lease.job_id, token=lease.token, lease_seconds=LEASE_SECONDS)
    job = tx.get_one(FineTuningJob, lease.fine_tuning_id, populate_existing=True)
    return {_S.CANCELLING: Stop.CANCEL, _S.PAUSING: Stop.PAUSE}.get(job.status)


def held(tx: Session, lease: FineTuningLease) -> FineTuningJob:
    """The job, locked, once the lease is known to be ours. Raises LeaseLost."""
    jobs.hold(tx, job_id=lease.job_id, token=lease.token)
    return _locked(tx, lease.fine_tuning_id)


# While its files are read.


def validated(
    tx: Session,
    lease: FineTuningLease,
    *,
    hyperparameters: Mapping[str, Any],
    lora: Mapping[str, Any],
    estimate: Mapping[str, Any],
    total_steps: int,
    report: ResultFile | None,
) -> None:
    """The files are fit for training: validating_files -> queued, and the training joins the queue; or
    -> failed where a spend limit does not have its price."""
    job = held(tx, lease)
    job.hyperparameters = dict(hyperparameters)
    job.lora = dict(lora)
    job.estimate = dict(estimate)
    job.total_steps = total_steps
    if report:
        job.report_file_id = results.add(tx, job, report, "report.jsonl")
    short = holds.hold_all(tx, holding.work(job), holding.price(job))
    if short is not None:
        message = f"This job costs {dollars(holding.price(job))}, which a spend limit does not have. "
        endings.failed(tx, job, _T.REJECTED, code=SPEND_LIMIT_REACHED, message=message + short.words())
        jobs.complete(tx, job_id=lease.job_id, token=lease.token)
        return
    transition(tx, job, FINE_TUNING, _T.VALIDATED, actor="system")
    events.say(tx, job, "Files validated, moving job to queued state")
    files_job = jobs.get(tx, lease.job_id)
    jobs.complete(tx, job_id=lease.job_id, token=lease.token)
    jobs.enqueue(
        tx,
        kind=JobKind.FINE_TUNE,
        resource_id=job.id,
        organization_id=job.organization_id,
        priority=files_job.priority,
        deadline=files_job.deadline,
    )


def rejected(
    tx: Session,
    lease: FineTuningLease,
    *,
    code: str,
    message: str,
    param: str | None,
    report: ResultFile | None,
    estimate: Mapping[str, Any] | None = None,
) -> None:
    """The files, or what is asked of them, are refused: validating_files -> failed."""
    job = held(tx, lease)
    job.estimate = dict(estimate) if estimate else None
    if report:
        job.report_file_id = results.add(tx, job, report, "report.jsonl")
    endings.failed(tx, job, _T.REJECTED, code=code, message=message, param=param)
    jobs.complete(tx, job_id=lease.job_id, token=lease.token)


# While it trains.


def started(tx: Session, lease: FineTuningLease, *, step: int, total_steps: int) -> None:
    """The trainer has the model and begins, or goes on, after `step` steps: queued -> running."""
    job = held(tx, lease)
    job.step = step
    job.total_steps = total_steps
    if job.status is _S.QUEUED:
        transition(tx, job, FINE_TUNING, _T.STARTED, actor="system")
    begun = f"Fine-tuning job goes on after step {step}" if step else "Fine-tuning job started"
    events.say(tx, job, begun)


def record(
    tx: Session,
    lease: FineTuningLease,
    metrics: Sequence[StepMetrics],
    *,
    steps_per_second: float | None = None,
    peak_memory_bytes: int | None = None,
) -> None:
    """Steps that the trainer has made since the last call, in order, and how it is doing."""
    job = held(tx, lease)
    events.record(tx, job, metrics)
    if metrics:
        job.step = metrics[-1].step
    job.steps_per_second = steps_per_second or job.steps_per_second
    job.peak_memory_bytes = max(peak_memory_bytes or 0, job.peak_memory_bytes or 0) or None


def adopt_checkpoint(tx: Session, lease: FineTuningLease, stored: StoredCheckpoint) -> list[str]:
    """Make a stored checkpoint part of the job: its model, its row and the tokens to charge, or none of
    them. Returns keys to delete after the commit.

    An attempt that gets so far clears the job's record: only failures in a row use attempts up.
    """
    job = held(tx, lease)
    jobs.get(tx, lease.job_id).failures = 0
    superseded = checkpoints.adopt(tx, job, stored)
    job.trained_tokens = stored.trained_tokens
    job.cost_micros = training_cost_micros(job.trained_tokens, job.price_micros)
    return superseded


# When an attempt ends without success.


def stopped(tx: Session, lease: FineTuningLease) -> FineTuningStatus:
    """The trainer has stopped as it was asked to, its checkpoint is adopted: pausing -> paused, cancelling
    -> cancelled. Where only its machine wanted it to stop, the job is queued again, blameless."""
    job = held(tx, lease)
    trigger = _T.STOPPED if job.status in (_S.PAUSING, _S.CANCELLING) else _T.PUT_BACK
    return _put_back(tx, lease, job, trigger, not_before=clock.now())


def put_back(tx: Session, lease: FineTuningLease, *, not_before: datetime | None = None) -> FineTuningStatus:
    """Give the job back, blameless, wherever it is: at its files, before or amid its training."""
    job = held(tx, lease)
    return _put_back(tx, lease, job, _T.PUT_BACK, not_before=not_before or clock.now())


def failed(tx: Session, lease: FineTuningLease, reason: FailureReason) -> bool:
    """This attempt broke. True if another will be made; otherwise the job has ended, or, if that was asked
    meanwhile, is paused or cancelled. Raises LeaseLost."""
    job = held(tx, lease)
    if job.status in (_S.PAUSING, _S.CANCELLING):
        endings.interrupted(tx, job, _T.PUT_BACK)
        jobs.complete(tx, job_id=lease.job_id, token=lease.token)
        return False
    if not jobs.fail(tx, job_id=lease.job_id, token=lease.token, reason=reason):
        endings.given_up(tx, job, reason)
        return False
    endings.interrupted(tx, job, _T.PUT_BACK, reason=reason)
    return True


def cannot_go_on(
    tx: Session, lease: FineTuningLease, *, code: str, message: str, param: str | None = None
) -> None:
    """Whatever attempts were made, the training would end like this, such as with a diverging loss: the job
    has failed, or is cancelled if that was asked meanwhile."""
    job = held(tx, lease)
    if job.status is _S.CANCELLING:
        endings.cancelled(tx, job, _T.GAVE_UP, actor="system")
    else:
        endings.failed(tx, job, _T.GAVE_UP, code=code, message=message, param=param)
    jobs.complete(tx, job_id=lease.job_id, token=lease.token)


def rescued(tx: Session, rescued_job: Job) -> None:
    """After `jobs.rescue`, in its transaction: what the loss of the worker means for the fine-tuning job."""
    job = _locked(tx, rescued_job.resource_id)
    if job.status in (_S.PAUSING, _S.CANCELLING):
        endings.interrupted(tx, job, _T.PUT_BACK)
        jobs.drop(rescued_job)
    elif rescued_job.status is JobStatus.FAILED:
        endings.given_up(tx, job, FailureReason.WORKER_LOST)
    else:
        endings.interrupted(tx, job, _T.PUT_BACK, reason=FailureReason.WORKER_LOST)


def _locked(tx: Session, fine_tuning_id: str) -> FineTuningJob:
    return tx.get_one(FineTuningJob, fine_tuning_id, with_for_update=True, populate_existing=True)


def _put_back(
    tx: Session,
    lease: FineTuningLease,
    job: FineTuningJob,
    trigger: FineTuningTrigger,
    *,
    not_before: datetime,
) -> FineTuningStatus:
    endings.interrupted(tx, job, trigger)
    if job.status in (_S.PAUSED, _S.CANCELLED):
        jobs.complete(tx, job_id=lease.job_id, token=lease.token)
    else:
        jobs.release(tx, job_id=lease.job_id, token=lease.token, not_before=not_before)
    return job.status
