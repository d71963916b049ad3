"""What a yard worker owes, on a real Prefect server: each case was seen to go wrong elsewhere."""

import asyncio
import os
import signal
import time
import uuid
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.states import Cancelling

from flows import runs
from tests.flows.conftest import Workers
from tests.flows.prefect_server import PrefectServer, drain, until_state, until_written

pytestmark = pytest.mark.prefect

RUNS = 30


async def schedule(client: PrefectClient, flow: str, **parameters: object) -> str:
    """A run of a scripted flow, by its id."""
    return await runs.create_run(
        client, deployment=flow, name=flow, parameters=parameters, idempotency_key=uuid.uuid4().hex
    )


async def test_a_run_starts_soon_and_thirty_at_once_all_complete(
    prefect: PrefectClient, workers: Workers, diary: Path
) -> None:
    workers.start()
    first = await schedule(prefect, "waiting", diary=str(diary), seconds=0.1)
    await until_state(prefect, first, "Completed")
    began = time.monotonic()
    second = await schedule(prefect, "quick", diary=str(diary))
    await until_written(diary, f"{second} ran")
    assert time.monotonic() - began < 3.0
    many = [await schedule(prefect, "quick", diary=str(diary)) for _ in range(RUNS)]
    for run_id in many:
        await until_state(prefect, run_id, "Completed", seconds=60)
    shown = await prefect.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[second]))
    )
    assert [(artifact.key, artifact.data) for artifact in shown] == [("quick-progress", 100.0)]


async def test_a_cancel_in_prefect_reaches_the_flow_and_ends_cancelled(
    prefect: PrefectClient, workers: Workers, diary: Path
) -> None:
    workers.start()
    run_id = await schedule(prefect, "waiting", diary=str(diary))
    await until_written(diary, f"{run_id} began")
    asked = time.monotonic()
    await prefect.set_flow_run_state(run_id, Cancelling())
    await until_written(diary, f"{run_id} cancelled")
    assert time.monotonic() - asked < 3.0
    await until_state(prefect, run_id, "Cancelled")


async def test_flows_that_cannot_end_well_end_failed_with_the_reason(
    prefect: PrefectClient, workers: Workers, pool: str
) -> None:
    ids = {
        words: await _run_of_anything(prefect, pool, entrypoint, **parameters)
        for words, entrypoint, parameters in (
            ("the third wheel came off", "flows.scripted.broken", {}),
            ("'shutil.rmtree' is not in the package 'flows'", "shutil.rmtree", {}),
            ("No module named 'flows.nothing'", "flows.nothing.at_all", {}),
            ("colour", "flows.scripted.quick", {"colour": "blue"}),
        )
    }
    workers.start()
    for words, run_id in ids.items():
        flow_run = await until_state(prefect, run_id, "Failed")
        assert flow_run.state is not None
        assert words in (flow_run.state.message or "")


async def _run_of_anything(client: PrefectClient, pool: str, entrypoint: str, **parameters: object) -> str:
    """A run of a deployment as somebody could write one, past our own registration."""
    deployment = await client.create_deployment(
        flow_id=await client.create_flow_from_name("anything"),
        name=uuid.uuid4().hex,
        work_pool_name=pool,
        entrypoint=entrypoint,
        enforce_parameter_schema=False,
    )
    flow_run = await client.create_flow_run_from_deployment(deployment, parameters=parameters)
    return str(flow_run.id)


async def test_two_workers_run_each_run_once(prefect: PrefectClient, workers: Workers, diary: Path) -> None:
    many = [await schedule(prefect, "quick", diary=str(diary)) for _ in range(RUNS // 2)]
    workers.start("one", limit=4)
    workers.start("two", limit=4)
    for run_id in many:
        await until_state(prefect, run_id, "Completed", seconds=60)
    lines = diary.read_text().splitlines()
    assert sorted(lines) == sorted(f"{run_id} ran" for run_id in many)


async def test_a_drained_worker_leaves_nothing_running_and_exits_well(
    prefect: PrefectClient, workers: Workers, diary: Path
) -> None:
    worker = workers.start()
    many = [await schedule(prefect, "waiting", diary=str(diary)) for _ in range(12)]
    for run_id in many:
        await until_written(diary, f"{run_id} began")
    threads = list(Path(f"/proc/{worker.pid}/task").iterdir())
    assert len(threads) < len(many), "runs cost threads: Prefect's engine watches each by itself"
    assert await asyncio.to_thread(drain, worker) == 0
    assert {s.name for s in (await runs.run_states(prefect, many)).values()} == {"Cancelled"}
    assert diary.read_text().count("drained") == len(many)


async def test_a_second_signal_ends_the_worker_at_once(
    prefect: PrefectClient, workers: Workers, diary: Path
) -> None:
    worker = workers.start()
    run_id = await schedule(prefect, "stubborn", diary=str(diary))
    await until_written(diary, f"{run_id} began")
    os.kill(worker.pid, signal.SIGTERM)
    await until_written(diary, f"{run_id} drained")
    assert worker.poll() is None
    os.kill(worker.pid, signal.SIGINT)
    assert await asyncio.to_thread(worker.wait, 3) == 128 + signal.SIGINT


async def test_a_worker_killed_and_started_again_ends_what_it_left(
    prefect: PrefectClient, workers: Workers, diary: Path
) -> None:
    worker = workers.start()
    left, cancelling = [await schedule(prefect, "waiting", diary=str(diary)) for _ in range(2)]
    for run_id in (left, cancelling):
        await until_written(diary, f"{run_id} began")
    worker.kill()
    await prefect.set_flow_run_state(cancelling, Cancelling())
    workers.start("other")
    workers.start()
    crashed = await until_state(prefect, left, "Crashed")
    assert crashed.state is not None
    assert crashed.state.message == "worker restarted"
    await until_state(prefect, cancelling, "Cancelled")


async def test_runs_outlive_the_server_and_are_told_to_the_next_one(
    prefect: PrefectClient, prefect_server: PrefectServer, workers: Workers, diary: Path
) -> None:
    """One run goes on over the outage; the other ends in it, and is told afterwards."""
    workers.start()
    over = await schedule(prefect, "waiting", diary=str(diary))
    within = await schedule(prefect, "waiting", diary=str(diary), seconds=4.0)
    for run_id in (over, within):
        await until_written(diary, f"{run_id} began")
    await until_state(prefect, within, "Running")
    prefect_server.kill()
    await until_written(diary, f"{within} waited")
    await asyncio.to_thread(prefect_server.start)
    await until_state(prefect, within, "Completed", seconds=80)
    assert (await until_state(prefect, over, "Running")).state is not None
    await prefect.set_flow_run_state(over, Cancelling())
    await until_written(diary, f"{over} cancelled")
    later = await schedule(prefect, "quick", diary=str(diary))
    await until_state(prefect, later, "Completed")
