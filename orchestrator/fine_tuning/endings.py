"""How the work on a fine-tuning job ends without success: interrupted; cancelled, with a charge for what is
stored and can be used; failed, without. All of them take a job whose row is held."""

from sqlmodel import Session

from orchestrator.fine_tuning import events
from orchestrator.fine_tuning.holding import work
from orchestrator.fine_tuning.model import EventLevel, FineTuningJob
from orchestrator.fine_tuning.states import FINAL, FINE_TUNING, FineTuningStatus, FineTuningTrigger
from orchestrator.jobs.retry import FailureReason
from orchestrator.metering import ledger
from orchestrator.metering.model import UsageKind
from orchestrator.metering.prices import training_cost_micros
from orchestrator.spending import holds
from orchestrator.state_machine import transition
from orchestrator.webhooks.event_types import EventType
from orchestrator.webhooks.events import announce


def interrupted(
    tx: Session, job: FineTuningJob, trigger: FineTuningTrigger, *, reason: FailureReason | None = None
) -> None:
    """Move a job whose trainer is gone to where it waits or ends; one that had none stays."""
    job.steps_per_second = None
    match job.status:
        case FineTuningStatus.CANCELLING:
            cancelled(tx, job, trigger, actor="system")
        case FineTuningStatus.PAUSING:
            transition(tx, job, FINE_TUNING, trigger, actor="system", reason=reason)
            events.say(tx, job, "The job has been paused")
        case FineTuningStatus.RUNNING:
            transition(tx, job, FINE_TUNING, trigger, actor="system", reason=reason)
            why = f" ({reason})" if reason else ""
            message = f"The training was interrupted{why} and goes on from its last checkpoint"
            events.say(tx, job, message, level=EventLevel.WARN)


def cancelled(tx: Session, job: FineTuningJob, trigger: FineTuningTrigger, *, actor: str) -> None:
    """The job is cancelled. Its last checkpoints stay usable, and are charged; its
    metrics stay in its events."""
    charge(tx, job)
    end(tx, job, trigger, actor=actor)
    events.say(tx, job, "The job has been cancelled")


def failed(
    tx: Session,
    job: FineTuningJob,
    trigger: FineTuningTrigger,
    *,
    code: str,
    message: str,
    param: str | None = None,
) -> None:
    """The job has failed and is not charged; `message` is for its customer."""
    job.error = {"code": code, "message": message, "param": param}
    job.cost_micros = 0
    end(tx, job, trigger, actor="system", reason=code)
    holds.release(tx, work(job))
    events.say(tx, job, message, level=EventLevel.ERROR)


def given_up(tx: Session, job: FineTuningJob, reason: FailureReason) -> None:
    """No attempt is left: the job has failed by our fault."""
    if job.status in FINAL:
        return
    failed(
        tx,
        job,
        FineTuningTrigger.GAVE_UP,
        code="server_error",
        message=f"The yard could not finish this job and has given up: {reason}. Nothing of it is charged; "
        "its last checkpoints stay usable.",
    )


def end(
    tx: Session, job: FineTuningJob, trigger: FineTuningTrigger, *, actor: str, reason: str | None = None
) -> None:
    """Move the job to a final status, whichever, and tell its project: every end comes this way."""
    if transition(tx, job, FINE_TUNING, trigger, actor=actor, reason=reason):
        announce(
            tx,
            organization_id=job.organization_id,
            project_id=job.project_id,
            type=EventType(f"fine_tuning.job.{job.status}"),
            resource_id=job.id,
        )


def charge(tx: Session, job: FineTuningJob) -> None:
    """One ledger row for the tokens up to the last stored checkpoint, if there are any; its key makes a
    second one impossible. What it held of a spend limit is given back."""
    job.cost_micros = training_cost_micros(job.trained_tokens, job.price_micros)
    if job.trained_tokens > 0:
        ledger.charge(
            tx,
            key=job.id,
            kind=UsageKind.FINE_TUNING,
            organization_id=job.organization_id,
            project_id=job.project_id,
            resource_id=job.id,
            model=job.base_model,
            used={"trained_tokens": job.trained_tokens},
            prices={"training": job.price_micros},
            cost_micros=job.cost_micros,
        )
    holds.release(tx, work(job))
