"""Registering with a real Prefect server, and putting its runs right."""

import sys
import uuid
from datetime import timedelta

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import WorkPool
from prefect.states import Pending, Running

from flows import reconcile, runs
from flows.deployments import DEPLOYMENTS, Deployment, Pool, register
from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.jobs.model import JobStatus
from tests.factories import make_job
from tests.flows.prefect_server import PrefectServer

pytestmark = pytest.mark.prefect


async def test_registering_again_changes_only_what_has_changed(prefect: PrefectClient, pool: str) -> None:
    quick = Deployment("quick", "flows.scripted.quick", pool, every=timedelta(hours=1))

    async def registered(limit: int, *queues: str) -> tuple[WorkPool, list[str], object]:
        pools = [Pool(pool, limit, "a test's")]
        await register(prefect, pools=pools, queues=queues, deployments=[quick])
        found = await prefect.read_work_queues(work_pool_name=pool)
        in_order = sorted(found, key=lambda queue: queue.priority or 0)
        deployment = await prefect.read_deployment_by_name("quick/quick")
        schedules = [s.schedule for s in deployment.schedules]
        return (
            await prefect.read_work_pool(pool),
            [queue.name for queue in in_order],
            (deployment.id, deployment.work_pool_name, schedules),
        )

    first = await registered(100, "enterprise", "free", "default")
    assert first[1] == ["enterprise", "free", "default"]
    again = await registered(100, "enterprise", "free", "default")
    assert again == first
    changed = await registered(7, "enterprise", "developer", "free", "default")
    assert changed[0].concurrency_limit == 7
    assert changed[1:] == (["enterprise", "developer", "free", "default"], first[2])


async def test_the_program_and_prefects_own_command_register_the_same(
    prefect: PrefectClient, prefect_server: PrefectServer
) -> None:
    prefect_server.run(sys.executable, "-m", "flows.deployments")
    by_program = await _registered(prefect)
    deploy = ("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "infra/prefect.yaml")
    prefect_server.run(sys.executable, "-m", *deploy)
    assert await _registered(prefect) == by_program
    assert set(by_program) == {deployment.name for deployment in DEPLOYMENTS}


async def _registered(client: PrefectClient) -> dict[str, tuple[object, ...]]:
    """What a worker and a person go by, of each of the yard's deployments."""
    found = {}
    for deployment in DEPLOYMENTS:
        one = await client.read_deployment_by_name(f"{deployment.name}/{deployment.name}")
        found[one.name] = (
            one.entrypoint,
            (one.work_pool_name, one.work_queue_name),
            [(schedule.schedule, schedule.slug) for schedule in one.schedules],
            (one.parameter_openapi_schema or {}).get("properties"),
            one.description,
        )
    return found


async def test_a_pool_of_another_type_is_not_taken_over(prefect: PrefectClient) -> None:
    name = f"foreign-{uuid.uuid4().hex}"
    await prefect.request("POST", "/work_pools/", json={"name": name, "type": "process"})
    with pytest.raises(ValueError, match="is of type 'process'"):
        await register(prefect, pools=[Pool(name, 1, "")], queues=[], deployments=[])


async def test_a_run_is_created_once_for_one_key(prefect: PrefectClient, pool: str) -> None:
    key = uuid.uuid4().hex
    ids = {
        await runs.create_run(
            prefect,
            deployment="quick",
            name="once",
            parameters={"diary": "/dev/null"},
            tags=["tier:free"],
            queue="free",
            idempotency_key=key,
        )
        for _ in range(3)
    }
    assert len(ids) == 1
    flow_run = (await runs.read_runs(prefect, [*ids, str(uuid.uuid4())]))[ids.pop()]
    assert (flow_run.name, flow_run.tags, flow_run.work_queue_name) == (
        "once",
        ["tier:free"],
        "free",
    )


async def test_what_is_wrong_at_two_looks_is_put_right(
    prefect: PrefectClient, pool: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of nobody, in states as a worker that died would leave them."""
    monkeypatch.setattr(reconcile, "POOLS", (pool,))
    with database.transaction() as tx:
        held = make_job(
            tx, status=JobStatus.RUNNING, attempt=2, lease_token="t", lease_expires_at=clock.now()
        )
        given_back = make_job(tx, status=JobStatus.QUEUED, attempt=1)
    live = await _run(prefect, pool, job_id=held.id, attempt=2)
    superseded = await _run(prefect, pool, job_id=held.id, attempt=1)
    over = await _run(prefect, pool, job_id=given_back.id, attempt=1)
    unknown = await _run(prefect, pool)
    once = await reconcile.reconcile(database, prefect)
    assert once == {superseded, over}
    assert await _names(prefect, [live, superseded, over]) == ["Running"] * 3
    assert await reconcile.reconcile(database, prefect, once) == frozenset()
    assert await _names(prefect, [live, superseded, over, unknown]) == [
        "Running",
        "Crashed",
        "Crashed",
        "Running",
    ]


async def _run(client: PrefectClient, pool: str, **parameters: object) -> str:
    deployment = await client.create_deployment(
        flow_id=await client.create_flow_from_name("anything"),
        name=uuid.uuid4().hex,
        work_pool_name=pool,
        enforce_parameter_schema=False,
    )
    flow_run = await client.create_flow_run_from_deployment(deployment, parameters=parameters)
    await client.set_flow_run_state(flow_run.id, Pending())
    await client.set_flow_run_state(flow_run.id, Running())
    return str(flow_run.id)


async def _names(client: PrefectClient, ids: list[str]) -> list[str | None]:
    states = await runs.run_states(client, ids)
    return [states[run_id].name for run_id in ids]
