"""Engines and trainings, from the dispatcher's side: decide by `orchestrator.engines.placement`, record, act.

Rows first, flow runs second: an engine whose flow run could not be created gets it at the next tick, once
and no more, since the run's idempotency key is the engine's id.
"""

import asyncio
from datetime import datetime, timedelta

import aiohttp
import structlog
from prefect.client.orchestration import PrefectClient

from flows import runs
from flows.composition import Yard
from flows.engine import new_api_key
from flows.job_runs import hand_out
from orchestrator import clock
from orchestrator.database.session import notify
from orchestrator.engines import placement, reservations, situation
from orchestrator.engines import service as engines
from orchestrator.engines.model import Engine, EngineStatus
from orchestrator.fine_tuning import places
from orchestrator.fine_tuning.places import Training
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job
from orchestrator.models.registry import ModelSpec

log = structlog.get_logger()

REMOTE_PROBE_SECONDS = 2.0
TRAININGS_MAX = 100  # looked at in one tick, the most urgent
HTTP_OK = 200


async def place_engines(here: Yard, prefect: PrefectClient) -> None:
    """Start, drain or leave engines alone, and begin trainings that have their GPUs; then see that every
    requested engine has its flow run."""
    requested, claimed = await asyncio.to_thread(_place, here)
    await hand_out(here, prefect, claimed)
    for engine in requested:
        run_id = await runs.create_run(
            prefect,
            deployment="serve-engine",
            name=f"{engine.model} {engine.id}",
            parameters={"engine_id": engine.id},
            tags=[f"model:{engine.model}"],
            queue=None,
            idempotency_key=engine.id,
        )
        await asyncio.to_thread(_attach, here, engine.id, run_id)


def _place(here: Yard) -> tuple[list[Engine], list[Job]]:
    """Engines that still need a flow run, and trainings now claimed, after this tick's decisions."""
    moment = clock.now()
    trainings: list[str] = []
    with here.database.transaction() as tx:
        for engine in engines.lost(tx):
            log.warning("engine_lost", engine=engine.id, model=engine.model)
        wanted = engines.wanted(tx, here.registry)
        for decision in placement.decide(
            gpus=here.settings.gpu_slots(),
            wanted=wanted,
            running=engines.running(tx, here.registry),
            failures=engines.failures(
                tx,
                [w.model for w in wanted],
                since=moment - timedelta(seconds=engines.HISTORY_SECONDS),
            ),
            now=moment,
            waiting=[_training(t, moment) for t in places.waiting(tx, limit=TRAININGS_MAX)],
            training=[_training(t, moment) for t in places.holding(tx)],
            reserved=reservations.kept_from_trainings(tx, here.registry),
        ):
            match decision:
                case placement.Start(model, lora):
                    spec = here.registry.get(model)
                    assert spec is not None  # `wanted` lists only known models
                    engine = engines.request(tx, spec, api_key=new_api_key(), lora=lora)
                    log.info("engine_requested", engine=engine.id, model=model, lora=lora)
                case placement.Drain(engine_id, reason):
                    engines.drain(tx, engines.heartbeat(tx, engine_id), reason=reason)
                    log.info("engine_drained", engine=engine_id, reason=reason)
                case placement.Train(job_id):
                    trainings.append(job_id)
                case placement.GiveUp():
                    pass  # the drivers read the same failures and end their batches with them
        claimed = jobs.claim_these(tx, trainings)
        tx.flush()
        requested = [e for e in engines.live(tx) if e.status is EngineStatus.REQUESTED]
        for engine in requested:
            engine.heartbeat_at = moment  # ours to watch until its flow begins
        return [e for e in requested if e.flow_run_id is None], claimed


def _training(training: Training, moment: datetime) -> situation.Training:
    return situation.Training(
        job_id=training.job.id,
        base=training.fine_tuning.base_model,
        gpus=training.fine_tuning.gpus,
        priority=training.job.priority,
        since=training.fine_tuning.queued_at or training.job.created_at,
        due=training.job.not_before <= moment,
        organization_id=training.job.organization_id,
    )


def _attach(here: Yard, engine_id: str, run_id: str) -> None:
    with here.database.transaction() as tx:
        engine = engines.get(tx, engine_id)
        if engine is not None and engine.flow_run_id is None:
            engine.flow_run_id = run_id
        notify(tx, runs.NEW_RUNS)


async def watch_remote_engines(here: Yard) -> None:
    """Somebody else's engines: those that answer their health check may be sent lines."""
    remote = [spec for spec in here.registry.all() if spec.url is not None]
    if not remote:
        return
    timeout = aiohttp.ClientTimeout(total=REMOTE_PROBE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        answers = await asyncio.gather(*(_answers(session, spec) for spec in remote))
    up = [spec for spec, answer in zip(remote, answers, strict=True) if answer]
    await asyncio.to_thread(_keep, here, up)


async def _answers(session: aiohttp.ClientSession, spec: ModelSpec) -> bool:
    try:
        key = spec.api_key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with session.get(f"{spec.url}/v1/models", headers=headers) as response:
            return response.status == HTTP_OK
    except (aiohttp.ClientError, TimeoutError, OSError):  # its key file, too, may be missing
        return False


def _keep(here: Yard, up: list[ModelSpec]) -> None:
    with here.database.transaction() as tx:
        for spec in up:
            engines.keep_remote(tx, spec, url=spec.url or "", api_key=spec.api_key())
