"""What Prefect must know before the first run: work pools, their queues, and deployments.

    python -m flows.deployments

Repeating it changes nothing that is right already. infra/prefect.yaml says the same to `prefect
deploy`; a test holds the two together.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema

from flows.entrypoints import load_flow
from flows.yard_worker import YardWorker
from orchestrator import telemetry
from orchestrator.entitlements.tiers import Tiers
from orchestrator.settings import Settings

DEFAULT_QUEUE = "default"  # Prefect makes it with every pool; for runs of no tier
SCHEDULE_SLUG = "regularly"
ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)  # fixed, so that registering again moves no schedule


@dataclass(frozen=True)
class Pool:
    """`limit` is how many runs of the pool go at once, over all its workers."""

    name: str
    limit: int
    description: str


@dataclass(frozen=True)
class Deployment:
    """A flow that can be started. It bears its flow's name; `every` is its schedule if it has one."""

    name: str
    entrypoint: str
    pool: str
    every: timedelta | None = None


DEPLOYMENTS = (
    Deployment("run-batch", "flows.batch.run_batch", "cpu"),
    Deployment("validate-fine-tune", "flows.fine_tune_files.validate_fine_tune", "cpu"),
    Deployment("fine-tune", "flows.fine_tune.fine_tune", "gpu"),
    Deployment("serve-engine", "flows.engine.serve_engine", "gpu"),
    Deployment("housekeeping", "flows.maintenance.housekeeping", "cpu", every=timedelta(minutes=10)),
    Deployment("check-books", "flows.books.check_books", "cpu"),
)


def pools(settings: Settings) -> tuple[Pool, ...]:
    """Both pools: light flows by the hundred, and one slot for each GPU."""
    return (
        Pool("cpu", settings.cpu_slots, "Batches being driven, datasets being read, and housekeeping"),
        Pool("gpu", settings.gpu_slots(), "Engines and trainers: one slot for each GPU"),
    )


def queue_order(tiers: Tiers) -> list[str]:
    """A pool's queues, the one to serve first in front: by tier, then runs of no tier."""
    return [*(tier.name for tier in sorted(tiers, key=lambda t: t.priority)), DEFAULT_QUEUE]


async def register(
    client: PrefectClient,
    *,
    pools: Sequence[Pool],
    queues: Sequence[str],
    deployments: Sequence[Deployment],
) -> None:
    """Make Prefect's pools, queues and deployments as given; leave others alone."""
    for pool in pools:
        await _ensure_pool(client, pool)
        await _ensure_queues(client, pool.name, queues)
    for deployment in deployments:
        await _ensure_deployment(client, deployment)


async def _ensure_pool(client: PrefectClient, pool: Pool) -> None:
    try:
        found = await client.read_work_pool(pool.name)
    except ObjectNotFound:
        await client.create_work_pool(
            WorkPoolCreate(
                name=pool.name,
                type=YardWorker.type,
                description=pool.description,
                concurrency_limit=pool.limit,
                base_job_template=YardWorker.get_default_base_job_template(),
            )
        )
        return
    if found.type != YardWorker.type:
        raise ValueError(
            f"Prefect's work pool {pool.name!r} is of type {found.type!r}, a yard worker needs "
            f"{YardWorker.type!r}: delete that pool or give the yard a Prefect server of its own"
        )
    if (found.concurrency_limit, found.description) != (pool.limit, pool.description):
        changed = WorkPoolUpdate(concurrency_limit=pool.limit, description=pool.description)
        await client.update_work_pool(pool.name, changed)


async def _ensure_queues(client: PrefectClient, pool: str, names: Sequence[str]) -> None:
    """Each at its place in `names`: priority 1 is served first."""
    found = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=pool)}
    for priority, name in enumerate(names, start=1):
        if name not in found:
            found[name] = await client.create_work_queue(name=name, work_pool_name=pool)
        if found[name].priority != priority:
            await client.update_work_queue(found[name].id, priority=priority)


async def _ensure_deployment(client: PrefectClient, deployment: Deployment) -> UUID:
    flow = load_flow(deployment.entrypoint)
    if flow.name != deployment.name:
        raise ValueError(f"{deployment.entrypoint} is named {flow.name!r}, not {deployment.name!r}")
    schedules = [] if deployment.every is None else [_regularly(deployment.every)]
    return await client.create_deployment(
        flow_id=await client.create_flow(flow),
        name=deployment.name,
        description=flow.description,
        entrypoint=deployment.entrypoint,
        work_pool_name=deployment.pool,
        work_queue_name=DEFAULT_QUEUE,
        schedules=schedules,
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
    )


def _regularly(every: timedelta) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=IntervalSchedule(interval=every, anchor_date=ANCHOR), slug=SCHEDULE_SLUG
    )


async def main() -> None:
    """Register everything that the settings ask for, and say so."""
    telemetry.configure("deployments")
    settings = Settings()
    wanted = pools(settings)
    queues = queue_order(Tiers.load(settings.tiers_file))
    async with get_client() as client:
        await register(client, pools=wanted, queues=queues, deployments=DEPLOYMENTS)
    for pool in wanted:
        sys.stdout.write(f"pool {pool.name}: {pool.limit} at once, queues {', '.join(queues)}\n")
    for deployment in DEPLOYMENTS:
        every = f", every {deployment.every}" if deployment.every else ""
        sys.stdout.write(f"deployment {deployment.name} on {deployment.pool}{every}\n")


if __name__ == "__main__":
    asyncio.run(main())
