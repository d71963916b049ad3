"""serve-engine: one life of one vLLM server, from its GPU slot to its end.

start -> wait until it answers -> watch (a heartbeat every second or two) -> drain -> stop. The server is a
child that dies with this process, so a GPU is never booked twice. Whatever ends the flow, the row says how.
"""

import asyncio
import secrets
from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelled, Completed, Failed
from sqlalchemy.exc import OperationalError

from flows.composition import Yard, yard
from flows.gpus import visible_gpus
from flows.stop import StopSignal, current_stop
from orchestrator.engines import service as engines
from orchestrator.engines.model import LIVE, Engine, EngineStatus
from orchestrator.models.registry import ModelSpec
from orchestrator.settings import inherited_environment
from workers.inference.server import EngineServer, EngineSpec

HEARTBEAT_SECONDS = 2.0
START_SECONDS_MAX = 1800.0  # a large model may load for long; a dead child ends the wait at once
DRAIN_SECONDS_MAX = 60.0
UNHEALTHY_BEATS_MAX = 15  # an engine that does not answer its health check this often in a row is dead

Ending = Literal["drained", "cancelled", "died"]


def new_api_key() -> str:
    """The key that an engine asks of its callers; made for each life of an engine."""
    return secrets.token_urlsafe(32)


@flow(name="serve-engine", persist_result=False)
async def serve_engine(engine_id: str) -> State[None]:
    """Serve one engine until it is drained, cancelled, or dies."""
    here = yard()
    engine, spec = await asyncio.to_thread(_begin, here, engine_id, str(this_run.id))
    if engine is None or spec is None:
        return Completed(message="not needed any more")
    with visible_gpus(here.settings, engine.gpus) as visible:
        server = EngineServer(_engine_spec(here, engine, spec, visible))
        ending, words = await _live(here, engine_id, server)
    if ending == "died":
        return Failed(message=words or "the engine stopped by itself")
    if ending == "cancelled":
        return Cancelled(message="stopped")
    return Completed(message="drained")


async def _live(here: Yard, engine_id: str, server: EngineServer) -> tuple[Ending, str]:
    """Start, watch and stop the server; how it ended, and what it said last. The row learns it too."""
    stop = current_stop()
    ending: Ending = "died"
    words = ""
    try:
        await server.start()
        ending = await _until_ready(here, engine_id, server, stop) or await _watch(
            here, engine_id, server, stop
        )
        if ending == "drained":
            await _empty(server)
        words = server.last_words()
        return ending, words
    finally:
        await server.stop()
        await asyncio.to_thread(_end, here, engine_id, ending, words)


def _begin(here: Yard, engine_id: str, flow_run_id: str) -> tuple[Engine | None, ModelSpec | None]:
    with here.database.transaction() as tx:
        engine = engines.get(tx, engine_id)
        if engine is None or not engines.starting(tx, engine, flow_run_id=flow_run_id):
            return None, None
        return engine, here.registry.get(engine.model)


def _engine_spec(here: Yard, engine: Engine, spec: ModelSpec, visible: dict[str, str]) -> EngineSpec:
    return EngineSpec(
        id=engine.id,
        model=spec.id,
        source=spec.source or "",
        python=here.settings.gpu_interpreter(),
        host=here.settings.engine_host,
        api_key=engine.api_key,
        context_length=spec.context_length,
        max_num_seqs=spec.max_num_seqs,
        flags=spec.engine_flags,
        cuda=here.settings.has_cuda(),
        log=here.settings.absolute_home() / "logs" / "engines" / f"{engine.id}.log",
        environment=inherited_environment() | visible,
    )


async def _until_ready(here: Yard, engine_id: str, server: EngineServer, stop: StopSignal) -> Ending | None:
    """None once it answers and its row says so."""
    waiting = asyncio.create_task(server.wait_ready(START_SECONDS_MAX))
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=HEARTBEAT_SECONDS)
            if stop.reason:
                return "cancelled"
            if await _orders(here, engine_id) == "drained":
                return "drained"
        if waiting.exception() is not None:
            return "died"
    finally:
        waiting.cancel()
    return None if await asyncio.to_thread(_answered, here, engine_id, server.url) else "drained"


def _answered(here: Yard, engine_id: str, url: str) -> bool:
    with here.database.transaction() as tx:
        return engines.answered(tx, engines.heartbeat(tx, engine_id), url=url)


async def _watch(here: Yard, engine_id: str, server: EngineServer, stop: StopSignal) -> Ending:
    """Heartbeat until it is told to end, or does not answer any more."""
    unhealthy = 0
    while True:
        unhealthy = 0 if await server.healthy() else unhealthy + 1
        if unhealthy > UNHEALTHY_BEATS_MAX or not server.alive():
            return "died"
        if await _orders(here, engine_id) == "drained":
            return "drained"
        try:
            await asyncio.wait_for(stop.event.wait(), HEARTBEAT_SECONDS)
            return "cancelled"
        except TimeoutError:
            pass


async def _orders(here: Yard, engine_id: str) -> Ending | None:
    """Write the heartbeat and read what the row says. While the database is away the engine goes on; if
    it stays away too long the row is found dead by others, which the next heartbeat sees."""
    try:
        status = await asyncio.to_thread(_heartbeat, here, engine_id)
    except OperationalError:
        return None
    return None if status in LIVE and status is not EngineStatus.DRAINING else "drained"


def _heartbeat(here: Yard, engine_id: str) -> EngineStatus:
    with here.database.transaction() as tx:
        return engines.heartbeat(tx, engine_id).status


async def _empty(server: EngineServer) -> None:
    """Let lines in flight finish, within bounds; whoever is cut off is sent again elsewhere."""
    waited = 0.0
    while waited < DRAIN_SECONDS_MAX and await server.requests_in_flight() > 0:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        waited += HEARTBEAT_SECONDS


def _end(here: Yard, engine_id: str, ending: Ending, last_words: str) -> None:
    with here.database.transaction() as tx:
        engine = engines.heartbeat(tx, engine_id)
        if engine.status not in LIVE:
            return  # taken for dead meanwhile
        if ending == "died":
            engines.died(tx, engine, last_words=last_words)
            return
        if engine.status is not EngineStatus.DRAINING:
            engines.drain(tx, engine, reason=ending)
        engines.ended(tx, engine)
