"""What a fine-tuning job holds of the spend limits over it, from its validation to its charge: its whole
price, since half a training is of little use."""

from sqlmodel import Session, col, select

from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.states import FINAL, FineTuningStatus
from orchestrator.spending.holds import Work

WITHOUT_PRICE = (*FINAL, FineTuningStatus.VALIDATING_FILES)


def work(job: FineTuningJob) -> Work:
    """The job, as a spend limit sees it."""
    return Work(job.id, job.organization_id, job.project_id)


def running(tx: Session, organization_id: str) -> list[tuple[Work, int]]:
    """The organization's jobs that have a price, their rows held, and that price: it was accepted."""
    rows = tx.exec(
        select(FineTuningJob)
        .where(FineTuningJob.organization_id == organization_id)
        .where(col(FineTuningJob.status).not_in(WITHOUT_PRICE))
        .order_by(FineTuningJob.id)
        .with_for_update()
    )
    return [(work(job), price(job)) for job in rows]


def price(job: FineTuningJob) -> int:
    """What the whole training costs, in micro-dollars."""
    return int((job.estimate or {}).get("cost_micros", 0))
