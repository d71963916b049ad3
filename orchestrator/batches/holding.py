"""What a batch holds of the spend limits over it, from its validation to its charge."""

from sqlmodel import Session, col, select

from orchestrator.batches.model import Batch
from orchestrator.batches.states import BatchStatus
from orchestrator.spending.holds import Work

SPENDING = (BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING, BatchStatus.CANCELLING)


def work(batch: Batch) -> Work:
    """The batch, as a spend limit sees it."""
    return Work(batch.id, batch.organization_id, batch.project_id)


def running(tx: Session, organization_id: str) -> list[tuple[Work, int]]:
    """The organization's batches that may cost something already, their rows held, and what each has cost."""
    rows = tx.exec(
        select(Batch)
        .where(Batch.organization_id == organization_id, col(Batch.status).in_(SPENDING))
        .order_by(Batch.id)
        .with_for_update()
    )
    return [(work(batch), batch.cost_micros) for batch in rows]
