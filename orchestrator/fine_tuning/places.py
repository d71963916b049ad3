"""Trainings in the queue: which wait and which hold GPUs, for placement; a job's place, for its customer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.states import FineTuningStatus
from orchestrator.jobs.model import Job, JobKind, JobStatus

TRAININGS_MAX = 10_000  # looked at for one place
HISTORY_JOBS = 20  # latest trainings looked at for a pace


@dataclass(frozen=True)
class Training:
    """One training that waits for GPUs or has them."""

    job: Job
    fine_tuning: FineTuningJob


@dataclass(frozen=True)
class QueuePlace:
    """`position` counts from 1. `estimated_start_at` is None where the duration of a training ahead is not
    known, or all GPUs together are too few."""

    position: int
    estimated_start_at: datetime | None


@dataclass(frozen=True)
class Occupancy:
    """GPUs for a time; None: unknown how long."""

    gpus: int
    seconds: float | None


def waiting(tx: Session, *, limit: int) -> list[Training]:
    """Trainings that nobody works on, in the order in which they get GPUs; some may not be due yet."""
    return _trainings(tx, (JobStatus.QUEUED,), limit)


def holding(tx: Session) -> list[Training]:
    """Trainings that have GPUs, or a flow run that is about to."""
    return _trainings(tx, (JobStatus.DISPATCHED, JobStatus.RUNNING), TRAININGS_MAX)


def position(tx: Session, job: FineTuningJob, *, gpus: int) -> QueuePlace | None:
    """Where a queued job stands on a yard with so many GPUs, None in every other status. The start supposes
    that engines give way, and that the trainings ahead take as long as was estimated."""
    if job.status is not FineTuningStatus.QUEUED:
        return None
    order = [training.fine_tuning for training in waiting(tx, limit=TRAININGS_MAX)]
    ids = [other.id for other in order]
    if job.id not in ids:  # its flow run is about to begin
        return QueuePlace(position=1, estimated_start_at=clock.now())
    ahead = order[: ids.index(job.id)]
    taken = [Occupancy(t.fine_tuning.gpus, remaining_seconds(t.fine_tuning)) for t in holding(tx)]
    queue = [Occupancy(other.gpus, remaining_seconds(other)) for other in ahead]
    seconds = starts_in(job.gpus, gpus=gpus, running=taken, ahead=queue)
    start = None if seconds is None else clock.now() + timedelta(seconds=seconds)
    return QueuePlace(position=len(ahead) + 1, estimated_start_at=start)


def starts_in(
    wanted: int, *, gpus: int, running: Iterable[Occupancy], ahead: Sequence[Occupancy]
) -> float | None:
    """Seconds until `wanted` of `gpus` are free, when those ahead start in their order, each as soon as it
    can. None where that depends on something unknown."""
    free_in: list[float] = [0.0] * gpus
    for occupancy in running:
        if occupancy.seconds is None:
            return None
        free_in[: occupancy.gpus] = [occupancy.seconds] * min(occupancy.gpus, gpus)
        free_in.sort()
    start = 0.0
    for occupancy in [*ahead, Occupancy(wanted, 0.0)]:
        if occupancy.seconds is None or occupancy.gpus > gpus:
            return None
        start = max(start, free_in[occupancy.gpus - 1])
        free_in[: occupancy.gpus] = [start + occupancy.seconds] * occupancy.gpus
        free_in.sort()
    return start


def remaining_seconds(job: FineTuningJob) -> float | None:
    """How long the job's steps still take: by its pace of late, or by the part of its estimate that is left.
    None where neither is known."""
    if job.total_steps is None:
        return None
    left = max(0, job.total_steps - job.step)
    if job.steps_per_second:
        return left / job.steps_per_second
    estimated: float | None = (job.estimate or {}).get("duration_seconds")
    return None if estimated is None else estimated * left / max(1, job.total_steps)


def tokens_per_second(tx: Session, base_model: str) -> float | None:
    """The pace of the latest trainings of this base, the best of them, since a small one is mostly start.
    None where there was none."""
    latest = tx.exec(
        select(FineTuningJob)
        .where(FineTuningJob.base_model == base_model, FineTuningJob.status == FineTuningStatus.SUCCEEDED)
        .order_by(col(FineTuningJob.succeeded_at).desc())
        .limit(HISTORY_JOBS)
    )
    paces = [job.steps_per_second * job.trained_tokens / job.step for job in latest if job.steps_per_second]
    return max(paces, default=None)


def _trainings(tx: Session, statuses: Sequence[JobStatus], limit: int) -> list[Training]:
    rows = tx.exec(
        select(Job, FineTuningJob)
        .join(FineTuningJob, col(FineTuningJob.id) == col(Job.resource_id))
        .where(Job.kind == JobKind.FINE_TUNE, col(Job.status).in_(statuses))
        .order_by(col(Job.priority), col(Job.deadline), col(Job.id))
        .limit(limit)
    )
    return [Training(job, fine_tuning) for job, fine_tuning in rows]
