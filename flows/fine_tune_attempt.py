"""What both flows of a fine-tuning job have in common: an attempt under a lease, and how it may end."""

from collections.abc import Callable, Coroutine
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelled, Completed, Failed

from flows.artifacts import show_link
from flows.beside import beside
from flows.composition import yard
from flows.fine_tune_run import FineTuneRun
from flows.stop import current_stop
from orchestrator.errors import LeaseLost
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.states import FineTuningStatus


async def run_attempt(
    fine_tuning_job_id: str,
    job_id: str,
    attempt: int,
    walk: Callable[[FineTuneRun], Coroutine[Any, Any, None]],
) -> State[None]:
    """Walk under the lease of this attempt, and mirror what became of the job in this run's state."""
    run = await FineTuneRun.begin(
        yard(),
        job_id=job_id,
        attempt=attempt,
        flow_run_id=str(this_run.id),
        stop_signal=current_stop(),
    )
    if run is None:
        return Completed(name="Superseded", message=f"{fine_tuning_job_id}: another attempt has taken over")
    api = run.here.settings.api_url()
    await show_link(f"{api}/v1/fine_tuning/jobs/{run.job.id}", run.job.id, key=f"{run.job.id}-api")
    try:
        await beside(walk(run), run.heart())
    except LeaseLost:
        if not await run.is_done():
            return Cancelled(message="this attempt lost its lease; another goes on")
    except Exception as error:
        again = await run.fail(error)
        get_run_logger().error("attempt %d failed: %s", attempt, type(error).__name__)
        if again:
            raise
    return mirror(await run.refresh(), drained=run.drained)


def mirror(job: FineTuningJob, *, drained: bool) -> State[None]:
    """The Prefect state that says what became of the job after one of its flows."""
    message = f"{job.step} of {job.total_steps or '?'} steps"
    match job.status:
        case FineTuningStatus.SUCCEEDED:
            return Completed(message=f"{message}: {job.fine_tuned_model}")
        case FineTuningStatus.CANCELLED:
            return Cancelled(message=message)
        case FineTuningStatus.PAUSED:
            return Cancelled(name="Paused", message=message)
        case FineTuningStatus.FAILED:
            return Failed(message=f"{(job.error or {}).get('message', 'gave up')}"[:500])
        case status if drained:
            return Cancelled(message=f"{message}, {status}: the worker went down on purpose")
        case status:
            return Completed(message=f"{message}, {status}")
