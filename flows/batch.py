"""run-batch: one attempt at one batch, from its lease to its result files.

validate -> drive -> finalize, each a Prefect task, all under one lease that a heartbeat renews. A driver
that is killed loses at most the lines in flight and those not yet flushed: the next attempt reads the
adopted segments and goes on. Whoever lost the lease stops at once and writes nothing more.
"""

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelled, Completed, Failed

from flows import batch_finalize, batch_lines
from flows.artifacts import show_link, show_markdown
from flows.batch_run import BatchRun, Drained
from flows.beside import beside
from flows.composition import yard
from flows.stop import current_stop
from orchestrator.batches.model import Batch
from orchestrator.batches.states import BatchStatus
from orchestrator.errors import LeaseLost
from orchestrator.metering.prices import dollars

STEP: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


@flow(name="run-batch", persist_result=False)
async def run_batch(batch_id: str, job_id: str, attempt: int) -> State[None]:
    """Run one attempt at `batch_id` and mirror its end in this run's state."""
    run = await BatchRun.begin(
        yard(),
        job_id=job_id,
        attempt=attempt,
        flow_run_id=str(this_run.id),
        stop_signal=current_stop(),
    )
    if run is None:
        return Completed(name="Superseded", message=f"{batch_id}: another attempt has taken over")
    try:
        await beside(_walk(run), run.heart())
    except LeaseLost:
        if not await run.is_done():
            return Cancelled(message="this attempt lost its lease; another goes on")
    except Drained:
        await run.release()
        return Cancelled(message="the worker went down on purpose; another attempt goes on")
    except Exception as error:
        again = await run.fail(error)
        get_run_logger().error("attempt %d failed: %s", attempt, type(error).__name__)
        if again:
            raise
    return mirror(await run.refresh())


async def _walk(run: BatchRun) -> None:
    api = run.here.settings.api_url()
    await show_link(f"{api}/v1/batches/{run.batch.id}", run.batch.id, key=f"{run.batch.id}-api")
    if await validate(run):
        await drive(run)
        if run.drained and run.stop is None:
            raise Drained  # not in a task: Prefect would log it as a fault
        await finalize(run)
    await show_markdown(summary(await run.refresh()), key=f"{run.batch.id}-result")


@task(name="validate", **STEP)
async def validate(run: BatchRun) -> bool:
    """Check every line, count its tokens and find its place; False if the file was refused."""
    return await batch_lines.validate(run)


@task(name="drive", **STEP)
async def drive(run: BatchRun) -> None:
    """Keep this batch's share of every engine full until each line has a result, or a reason to stop."""
    await batch_lines.drive(run)


@task(name="finalize", **STEP)
async def finalize(run: BatchRun) -> None:
    """Merge the segments into the result files, charge them, and set the final status."""
    await batch_finalize.finalize(run)


def summary(batch: Batch) -> str:
    """What became of the batch, as a page of Markdown for operators. No prompt, no answer."""
    rows = {
        "status": batch.status,
        "lines": batch.request_total,
        "completed": batch.request_completed,
        "failed": batch.request_failed,
        "cost": dollars(batch.cost_micros),
        "output file": batch.output_file_id or "none",
        "error file": batch.error_file_id or "none",
    }
    rows |= {
        f"{model} tokens": f"{used['input_tokens']} in, {used['output_tokens']} out"
        for model, used in batch.usage.items()
    }
    lines = [f"| {what} | {value} |" for what, value in rows.items()]
    return "\n".join([f"| {batch.id} | |", "|---|---|", *lines])


def mirror(batch: Batch) -> State[None]:
    """The Prefect state that says what became of the batch."""
    counts = f"{batch.request_completed} completed, {batch.request_failed} failed"
    message = f"{batch.request_total} lines: {counts}"
    match batch.status:
        case BatchStatus.COMPLETED:
            return Completed(message=message)
        case BatchStatus.CANCELLED:
            return Cancelled(message=message)
        case BatchStatus.EXPIRED:
            return Failed(name="Expired", message=message)
        case BatchStatus.FAILED:
            first = (batch.errors or [{"message": "gave up"}])[0]
            return Failed(name="Refused", message=f"{first['message']}"[:500])
        case status:
            raise AssertionError(f"{batch.id} is {status} at the end of its flow")
