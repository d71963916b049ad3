"""fine-tune: one attempt at one training, from its lease to its model.

train -> publish, each a Prefect task, all under one lease that a heartbeat renews. A trainer or a worker that
is killed loses the steps since the newest checkpoint: the next attempt goes on from there, and comes to the
same weights. Whoever lost the lease stops at once and writes nothing more.
"""

from functools import partial

from prefect import flow, task
from prefect.client.schemas.objects import State

from flows import fine_tune_publish, fine_tune_training
from flows.artifacts import show_markdown
from flows.batch import STEP
from flows.fine_tune_attempt import run_attempt
from flows.fine_tune_run import FineTuneRun
from flows.trainer import LastReport
from orchestrator.fine_tuning import progress
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.metering.prices import dollars
from workers.training.reports import Failed, Finished


class TrainerBroke(Exception):
    """The trainer ended by a fault of ours, and said so."""


@flow(name="fine-tune", persist_result=False)
async def fine_tune(fine_tuning_job_id: str, job_id: str, attempt: int) -> State[None]:
    """Run one attempt at training `fine_tuning_job_id` and mirror its end in this run's state."""
    return await run_attempt(fine_tuning_job_id, job_id, attempt, _walk)


async def _walk(run: FineTuneRun) -> None:
    match await train(run):
        case Finished():
            await publish(run)
        case Failed(code="internal_error", message=message):
            raise TrainerBroke(message)
        case Failed(code=code, message=message):
            await run.write(partial(progress.cannot_go_on, lease=run.lease, code=code, message=message))
        case _:
            await run.write(partial(progress.stopped, lease=run.lease))
    await show_markdown(summary(await run.refresh()), key=f"{run.job.id}-result")


@task(name="train", **STEP)
async def train(run: FineTuneRun) -> LastReport | None:
    """Follow a trainer on this machine's GPUs until it is done, or there is a reason to stop."""
    return await fine_tune_training.train(run)


@task(name="publish", **STEP)
async def publish(run: FineTuneRun) -> None:
    """Make the last checkpoint a model, charge its tokens, and set the final status."""
    await fine_tune_publish.publish(run)


def summary(job: FineTuningJob) -> str:
    """What became of the job, as a page of Markdown for operators."""
    peak = job.peak_memory_bytes
    rows = {
        "status": job.status,
        "model": job.fine_tuned_model or "none",
        "base model": job.base_model,
        "steps": f"{job.step} of {job.total_steps}",
        "trained tokens": job.trained_tokens,
        "cost": dollars(job.cost_micros),
        "peak memory": "unknown" if peak is None else f"{peak / 2**20:.0f} MiB",
        "metrics": job.result_file_id or "none",
        "error": (job.error or {}).get("message") or "none",
    }
    lines = [f"| {what} | {value} |" for what, value in rows.items()]
    return "\n".join([f"| {job.id} | |", "|---|---|", *lines])
