"""What a fine-tuning job says: messages in OpenAI's words, and the metrics of every step.

A page of them is a range of (created_at, id). So that this order is the order of writing, whatever the
clocks of those who write, each event is at least a microsecond younger than the one before; all who write
hold the job's row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import func, text, type_coerce
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.database import pages
from orchestrator.fine_tuning.model import EventLevel, EventType, FineTuningEvent, FineTuningJob

TICK = timedelta(microseconds=1)


CURVE_STEPS_MAX = 20_000  # of the newest steps


@dataclass(frozen=True)
class StepMetrics:
    """What one optimizer step gave. The `valid_` ones are there where the validation file was evaluated
    after it, `full` where that was at the end of an epoch."""

    step: int
    epoch: float
    train_loss: float
    train_mean_token_accuracy: float
    learning_rate: float
    grad_norm: float
    trained_tokens: int
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full: bool = False

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """What `data` has said."""
        given = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**given, full="full_valid_loss" in data)

    def data(self, total_steps: int | None) -> dict[str, Any]:
        """OpenAI's fields first, then ours; no field without a value."""
        fields = {
            "step": self.step,
            "total_steps": total_steps,
            "train_loss": self.train_loss,
            "train_mean_token_accuracy": self.train_mean_token_accuracy,
            "valid_loss": self.valid_loss,
            "valid_mean_token_accuracy": self.valid_mean_token_accuracy,
            "full_valid_loss": self.valid_loss if self.full else None,
            "full_valid_mean_token_accuracy": self.valid_mean_token_accuracy if self.full else None,
            "epoch": self.epoch,
            "learning_rate": self.learning_rate,
            "grad_norm": self.grad_norm,
            "trained_tokens": self.trained_tokens,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def message(self, total_steps: int | None) -> str:
        """`Step 3/120: training loss=0.15, validation loss=0.27`."""
        told = [f"training loss={self.train_loss:.4f}"]
        if self.valid_loss is not None:
            told.append(f"validation loss={self.valid_loss:.4f}")
            if self.full:
                told.append(f"full validation loss={self.valid_loss:.4f}")
        return f"Step {self.step}/{total_steps or '?'}: {', '.join(told)}"


def say(tx: Session, job: FineTuningJob, message: str, *, level: EventLevel = EventLevel.INFO) -> None:
    """One more message of a job whose row is held."""
    tx.add(
        FineTuningEvent(
            id=ids.new("ftevent-"),
            job_id=job.id,
            type=EventType.MESSAGE,
            level=level,
            message=message,
            created_at=next(_moments(tx, job.id)),
        )
    )
    tx.flush()


def record(tx: Session, job: FineTuningJob, metrics: Sequence[StepMetrics]) -> None:
    """The metrics of some steps of a job whose row is held. A step that was recorded before keeps its row;
    only an evaluation that it lacked is added."""
    moments = _moments(tx, job.id)
    by_step = {of_step.step: of_step for of_step in metrics}
    if not by_step:
        return
    rows = insert(FineTuningEvent).values(
        [
            {
                "id": ids.new("ftevent-"),
                "job_id": job.id,
                "type": EventType.METRICS,
                "level": EventLevel.INFO,
                "message": of_step.message(job.total_steps),
                "step": of_step.step,
                "data": of_step.data(job.total_steps),
                "created_at": next(moments),
            }
            for of_step in by_step.values()
        ]
    )
    had = type_coerce(col(FineTuningEvent.data), JSONB).has_key("valid_loss")
    tx.execute(
        rows.on_conflict_do_update(
            index_elements=["job_id", "step"],
            index_where=text("type = 'metrics'"),
            set_={"message": rows.excluded.message, "data": rows.excluded.data},
            where=rows.excluded.data.has_key("valid_loss") & ~had,
        )
    )


def curve(tx: Session, job_id: str) -> list[StepMetrics]:
    """The job's steps so far, in order, at most CURVE_STEPS_MAX."""
    newest = (
        select(FineTuningEvent.data)
        .where(FineTuningEvent.job_id == job_id, FineTuningEvent.type == EventType.METRICS)
        .order_by(col(FineTuningEvent.step).desc())
        .limit(CURVE_STEPS_MAX)
    )
    return [StepMetrics.of(data or {}) for data in reversed(tx.exec(newest).all())]


def list_page(tx: Session, request: pages.PageRequest, *, job_id: str) -> pages.Page[FineTuningEvent]:
    """One page of a job's events. Raises Invalid for an unknown cursor."""
    within = [col(FineTuningEvent.job_id) == job_id]
    return pages.fetch(tx, FineTuningEvent, request, organization_id=None, within=within)


def _moments(tx: Session, job_id: str) -> Iterator[datetime]:
    last = tx.exec(select(func.max(FineTuningEvent.created_at)).where(FineTuningEvent.job_id == job_id)).one()
    moment = clock.now() if last is None else max(clock.now(), last + TICK)
    while True:
        yield moment
        moment += TICK
