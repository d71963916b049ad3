"""A training's checkpoints: stored first, then adopted by a row, the last three kept.

Each is two things: an adapter that can be used at once, and the state from which the next attempt goes on.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.adapters import service as adapters
from orchestrator.adapters.model import Adapter, Origin
from orchestrator.adapters.store import StoredAdapter
from orchestrator.database import pages
from orchestrator.errors import NotFound
from orchestrator.fine_tuning import events
from orchestrator.fine_tuning.model import FineTuningCheckpoint, FineTuningJob
from orchestrator.organizations.model import Organization

KEPT = 3


@dataclass(frozen=True)
class StoredCheckpoint:
    """What is in the store after `step` steps. `metrics` are those of that step, as on the wire."""

    step: int
    trained_tokens: int
    files: StoredAdapter
    card: Mapping[str, Any]
    state_key: str
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Restart:
    """Where the next attempt goes on: the weights are the adapter's files, the rest is under `state_key`."""

    step: int
    trained_tokens: int
    adapter: Adapter
    state_key: str


def adopt(tx: Session, job: FineTuningJob, stored: StoredCheckpoint) -> list[str]:
    """Make a stored checkpoint the job's, whose row is held: a model, a row, an event. Returns the keys of
    older states, which are to be deleted after the commit. A step that has its row already keeps that."""
    rows = newest_first(tx, job.id)
    if any(row.step == stored.step for row in rows):
        return []
    adapter = adapters.publish(
        tx,
        organization=tx.get_one(Organization, job.organization_id),
        project_id=job.project_id,
        base_model=job.base_model,
        origin=Origin.CHECKPOINT,
        source_id=job.id,
        name=job.suffix,
        suffix=job.suffix,
        files=stored.files,
        card=dict(stored.card),
        step=stored.step,
    )
    row = FineTuningCheckpoint(
        id=ids.new("ftckpt_"),
        job_id=job.id,
        step=stored.step,
        adapter_id=adapter.id,
        state_key=stored.state_key,
        trained_tokens=stored.trained_tokens,
        metrics=dict(stored.metrics),
        created_at=clock.now(),
    )
    tx.add(row)
    events.say(tx, job, f"Checkpoint created at step {stored.step} with Snapshot ID: {adapter.id}")
    return [_prune(tx, job, old) for old in rows[KEPT - 1 :]]


def newest_first(tx: Session, job_id: str) -> list[FineTuningCheckpoint]:
    """The job's checkpoints, at most KEPT."""
    of_job = select(FineTuningCheckpoint).where(FineTuningCheckpoint.job_id == job_id)
    return list(tx.exec(of_job.order_by(col(FineTuningCheckpoint.step).desc())))


def restart(tx: Session, job_id: str) -> Restart | None:
    """Where to go on, None at the beginning."""
    rows = newest_first(tx, job_id)
    if not rows:
        return None
    newest = rows[0]
    adapter = tx.get_one(Adapter, newest.adapter_id)
    return Restart(newest.step, newest.trained_tokens, adapter, newest.state_key)


def list_page(tx: Session, request: pages.PageRequest, *, job_id: str) -> pages.Page[FineTuningCheckpoint]:
    """One page of a job's checkpoints. Raises Invalid for an unknown cursor."""
    within = [col(FineTuningCheckpoint.job_id) == job_id]
    return pages.fetch(tx, FineTuningCheckpoint, request, organization_id=None, within=within)


def _prune(tx: Session, job: FineTuningJob, row: FineTuningCheckpoint) -> str:
    with contextlib.suppress(NotFound):  # its customer has deleted the model before
        adapters.delete(tx, organization_id=job.organization_id, adapter_id=row.adapter_id)
    tx.delete(row)
    return row.state_key
