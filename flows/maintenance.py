"""housekeeping: the scheduled flow that removes what has expired. Each step is a task anyone can see."""

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.composition import yard
from orchestrator import housekeeping as steps

STEP: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


@flow(name="housekeeping", persist_result=False)
async def housekeeping() -> State[None]:
    """Remove expired files, stale uploads, old segments and states, deleted adapters, forgotten demands, old
    webhook deliveries and unfinished puts."""
    removed = {
        "files": await expire_files(),
        "uploads and parts": await expire_uploads(),
        "batches' segments": await remove_segments(),
        "trainings' states": await remove_training_states(),
        "adapters' bytes": await remove_adapters(),
        "demands": await forget_demands(),
        "webhook deliveries": await prune_webhooks(),
        "unfinished puts": await sweep_store(),
    }
    return Completed(message=", ".join(f"{count} {what}" for what, count in removed.items()))


@task(**STEP)
async def expire_files() -> int:
    """Files past their expiry."""
    return await steps.expire_files(yard().database, yard().store)


@task(**STEP)
async def expire_uploads() -> int:
    """Uploads never completed, and the parts of those that ended."""
    return await steps.expire_uploads(yard().database, yard().store)


@task(**STEP)
async def remove_segments() -> int:
    """Segments of batches that ended days ago."""
    return await steps.remove_segments(yard().database, yard().store)


@task(**STEP)
async def remove_training_states() -> int:
    """Token files and states of fine-tuning jobs that ended days ago."""
    return await steps.remove_training_states(yard().database, yard().store)


@task(**STEP)
async def remove_adapters() -> int:
    """The bytes of deleted adapters that nothing needs any more."""
    return await steps.remove_adapters(yard().database, yard().store)


@task(**STEP)
async def forget_demands() -> int:
    """Demands of drivers that died."""
    return await steps.forget_demands(yard().database)


@task(**STEP)
async def prune_webhooks() -> int:
    """Webhook deliveries of last month."""
    return await steps.prune_webhooks(yard().database)


@task(**STEP)
async def sweep_store() -> int:
    """Puts begun and never finished."""
    return await steps.sweep_store(yard().store)
