"""OpenAI's fine-tuning job, its events and checkpoints, and what this yard adds under `tokenyard`."""

from datetime import timedelta
from typing import Any, Literal

from api.schemas.wire import Identified, Wire
from orchestrator import clock
from orchestrator.fine_tuning.model import FineTuningCheckpoint, FineTuningEvent, FineTuningJob, Method
from orchestrator.fine_tuning.places import QueuePlace
from orchestrator.fine_tuning.states import FineTuningStatus
from orchestrator.metering.prices import CURRENCY

AUTO = "auto"  # what a hyperparameter is until the dataset has been counted, unless it was given
HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")


class JobError(Wire):
    """Why a job failed."""

    code: str
    message: str
    param: str | None


class Progress(Wire):
    """How far the training is and how fast it moves. `waiting_for` says why it does not."""

    step: int
    total_steps: int | None
    trained_tokens: int
    steps_per_second: float | None
    eta_seconds: int | None
    waiting_for: str | None


class Queue(Wire):
    """Where a job stands that waits for GPUs, from 1, and when it is thought to start."""

    position: int
    estimated_start: int | None


class TrainingCost(Wire):
    """What has been charged: nothing before the job has ended, and nothing for one that failed."""

    amount_micros: int
    currency: str = CURRENCY
    charged: bool


class JobExtension(Wire):
    """This yard's additions. `training` has every number that runs, `lora` those of the adapter; both are
    null until the dataset has been counted, which also makes the `estimate`."""

    tier: str
    progress: Progress
    queue: Queue | None
    lora: dict[str, Any] | None
    training: dict[str, Any] | None
    estimate: dict[str, Any] | None
    cost: TrainingCost
    peak_memory_bytes: int | None
    report_file: str | None
    flow_run_url: str | None
    queued_at: int | None
    running_at: int | None
    pausing_at: int | None
    paused_at: int | None
    cancelling_at: int | None


class FineTuningJobObject(Identified):
    """A fine-tuning job."""

    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str
    created_at: int
    finished_at: int | None
    fine_tuned_model: str | None
    organization_id: str
    status: FineTuningStatus
    training_file: str
    validation_file: str | None
    result_files: list[str]
    hyperparameters: dict[str, Any]
    method: dict[str, Any]
    seed: int
    trained_tokens: int | None
    estimated_finish: int | None
    error: JobError | None
    integrations: list[Any]
    user_provided_suffix: str | None
    metadata: dict[str, str] | None
    tokenyard: JobExtension

    @classmethod
    def of(
        cls, job: FineTuningJob, *, place: QueuePlace | None, prefect_ui_url: str
    ) -> "FineTuningJobObject":
        """The job as its owner sees it. `place` is that of one that waits for GPUs."""
        ended = job.succeeded_at or job.failed_at or job.cancelled_at
        eta = _eta_seconds(job)
        numbers = _numbers(job)
        return cls(
            id=job.id,
            model=job.base_model,
            created_at=clock.unix(job.created_at),
            finished_at=clock.unix_or_none(ended),
            fine_tuned_model=job.fine_tuned_model,
            organization_id=job.organization_id,
            status=job.status,
            training_file=job.training_file_id,
            validation_file=job.validation_file_id,
            result_files=[job.result_file_id] if job.result_file_id else [],
            hyperparameters={name: numbers[name] for name in HYPERPARAMETERS},
            method={"type": job.method, job.method: {"hyperparameters": numbers}},
            seed=job.seed,
            trained_tokens=job.trained_tokens if ended else None,
            estimated_finish=None if eta is None else clock.unix(clock.now() + timedelta(seconds=eta)),
            error=None if job.error is None else JobError(**job.error),
            integrations=[],
            user_provided_suffix=job.suffix,
            metadata=job.job_metadata,
            tokenyard=_extension(job, place, eta_seconds=eta, prefect_ui_url=prefect_ui_url),
        )


class EventObject(Identified):
    """Something that happened to a job. Metrics of a step have type `metrics` and numbers in `data`."""

    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: str
    message: str
    type: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: FineTuningEvent) -> "EventObject":
        """The event as the job's owner sees it."""
        return cls(
            id=event.id,
            created_at=clock.unix(event.created_at),
            level=event.level,
            message=event.message,
            type=event.type,
            data=event.data or {},
        )


class CheckpointObject(Identified):
    """A model as it was after a step: requests may name it at once."""

    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: dict[str, Any]
    step_number: int

    @classmethod
    def of(cls, checkpoint: FineTuningCheckpoint) -> "CheckpointObject":
        """The checkpoint as the job's owner sees it."""
        return cls(
            id=checkpoint.id,
            created_at=clock.unix(checkpoint.created_at),
            fine_tuned_model_checkpoint=checkpoint.adapter_id,
            fine_tuning_job_id=checkpoint.job_id,
            metrics=checkpoint.metrics,
            step_number=checkpoint.step,
        )


def _numbers(job: FineTuningJob) -> dict[str, Any]:
    """OpenAI's hyperparameters of the job's method: what runs, or what was asked while that is not known."""
    names = (*HYPERPARAMETERS, "beta") if job.method is Method.DPO else HYPERPARAMETERS
    known = job.hyperparameters or job.requested.get("hyperparameters", {})
    return {name: known.get(name, AUTO) for name in names}


def _eta_seconds(job: FineTuningJob) -> int | None:
    """Seconds until the last step at the rate of late, while a trainer runs."""
    if job.status is not FineTuningStatus.RUNNING or not job.total_steps or not job.steps_per_second:
        return None
    return round((job.total_steps - job.step) / job.steps_per_second)


def _extension(
    job: FineTuningJob, place: QueuePlace | None, *, eta_seconds: int | None, prefect_ui_url: str
) -> JobExtension:
    moves = job.status is FineTuningStatus.RUNNING
    flow_run = job.flow_run_id
    return JobExtension(
        tier=job.tier,
        progress=Progress(
            step=job.step,
            total_steps=job.total_steps,
            trained_tokens=job.trained_tokens,
            steps_per_second=job.steps_per_second if moves else None,
            eta_seconds=eta_seconds,
            waiting_for=None if place is None else f"GPUs, as number {place.position} in the queue",
        ),
        queue=place and _queue(place),
        lora=job.lora,
        training=job.hyperparameters,
        estimate=job.estimate,
        cost=TrainingCost(amount_micros=job.cost_micros, charged=job.cost_micros > 0),
        peak_memory_bytes=job.peak_memory_bytes,
        report_file=job.report_file_id,
        flow_run_url=f"{prefect_ui_url}/runs/flow-run/{flow_run}" if flow_run else None,
        queued_at=clock.unix_or_none(job.queued_at),
        running_at=clock.unix_or_none(job.running_at),
        pausing_at=clock.unix_or_none(job.pausing_at),
        paused_at=clock.unix_or_none(job.paused_at),
        cancelling_at=clock.unix_or_none(job.cancelling_at),
    )


def _queue(place: QueuePlace) -> Queue:
    start = place.estimated_start_at
    return Queue(position=place.position, estimated_start=clock.unix_or_none(start))
