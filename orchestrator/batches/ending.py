"""The one way by which a batch comes to its end, whichever: its status moves, and its project is told."""

from sqlmodel import Session

from orchestrator.batches.model import Batch
from orchestrator.batches.states import BATCH, BatchTrigger
from orchestrator.state_machine import transition
from orchestrator.webhooks.event_types import EventType
from orchestrator.webhooks.events import announce


def end(tx: Session, batch: Batch, trigger: BatchTrigger, *, reason: str | None) -> None:
    """Move a batch whose row is held to a final status."""
    if transition(tx, batch, BATCH, trigger, actor="system", reason=reason):
        announce(
            tx,
            organization_id=batch.organization_id,
            project_id=batch.project_id,
            type=EventType(f"batch.{batch.status}"),
            resource_id=batch.id,
        )
