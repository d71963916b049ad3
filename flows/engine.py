"""serve-engine: one life of one vLLM server, from its GPU slot to its end.

start -> wait until it answers -> watch (a heartbeat every second or two) -> drain -> stop. The server is a
child that dies with this process, so a GPU is never booked twice. Whatever ends the flow, the row says how.
"""

import asyncio
import contextlib
import secrets
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelled, Completed, Failed
from sqlalchemy.exc import OperationalError

from flows.composition import Yard, yard
from flows.engine_adapters import keep_adapters
from flows.gpus import visible_gpus
from flows.stop import StopSignal, current_stop
from orchestrator import clock
from orchestrator.engines import service as engines
from orchestrator.engines.model import LIVE, Engine, EngineStatus
from orchestrator.models.registry import ModelSpec
from orchestrator.settings import inherited_environment
from workers.inference.server import AdapterRoom, EngineServer, EngineSpec

HEARTBEAT_SECONDS = 2.0
START_SECONDS_MAX = 1800.0  # a large model may load for long; a dead child ends the wait at once
DRAIN_SECONDS_MAX = 60.0
DRAIN_POLL_SECONDS = 0.5
DRIVERS_HEAR_SECONDS = 4.0  # two of their heartbeats: until then they may still send lines
WANTED_OF_LATE_SECONDS = 10.0  # an engine not needed for longer has no lines to come
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
        engine_spec = _engine_spec(here, engine, spec, visible)
        ending, words = await _live(here, engine_id, engine_spec)
    if ending == "died":
        return Failed(message=words or "the engine stopped by itself")
    if ending == "cancelled":
        return Cancelled(message="stopped")
    return Completed(message="drained")


async def _live(here: Yard, engine_id: str, spec: EngineSpec) -> tuple[Ending, str]:
    """Start, watch and stop the server; how it ended, and what it said last. The row learns it too."""
    stop = current_stop()
    server = EngineServer(spec)
    ending: Ending = "died"
    words = ""
    try:
        await server.start()
        ending = await _until_ready(here, engine_id, server, stop) or await _serve(
            here, engine_id, server, stop, spec.lora
        )
        if ending == "drained":
            await _empty(here, engine_id, server, stop)
        words = server.last_words()
        return ending, words
    finally:
        await server.stop()
        await asyncio.to_thread(_end, here, engine_id, ending, words)


async def _serve(
    here: Yard, engine_id: str, server: EngineServer, stop: StopSignal, room: AdapterRoom | None
) -> Ending:
    """Watch it and, where it takes adapters, keep those that are wanted loaded."""
    watching = asyncio.create_task(_watch(here, engine_id, server, stop))
    tasks: list[asyncio.Task[Any]] = [watching]
    if room is not None:
        tasks.append(asyncio.create_task(keep_adapters(here, engine_id, server, room.loaded_max)))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # of the adapters' keeper only an error
        return watching.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _begin(here: Yard, engine_id: str, flow_run_id: str) -> tuple[Engine | None, ModelSpec | None]:
    with here.database.transaction() as tx:
        engine = engines.get(tx, engine_id)
        if engine is None or not engines.starting(tx, engine, flow_run_id=flow_run_id):
            return None, None
        _sweep_sockets(here, {one.id for one in engines.live(tx)})
        return engine, here.registry.get(engine.model)


def _sockets(here: Yard) -> Path:
    return here.settings.absolute_home() / "sockets"


def _sweep_sockets(here: Yard, live: set[str]) -> None:
    """Remove what engines left whose process was killed together with ours."""
    with contextlib.suppress(FileNotFoundError):
        for folder in _sockets(here).iterdir():
            if folder.name not in live:
                shutil.rmtree(folder, ignore_errors=True)


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
        lora=AdapterRoom(spec.lora.loaded_max, spec.lora.rank_max) if engine.lora and spec.lora else None,
        sockets=_sockets(here) / engine.id,
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


async def _empty(here: Yard, engine_id: str, server: EngineServer, stop: StopSignal) -> None:
    """Let drivers hear of it and lines in flight finish, within bounds: whoever is cut off is sent again
    elsewhere. A worker that goes down has no time for that."""
    begun = time.monotonic()
    heard_at = begun + (
        DRIVERS_HEAR_SECONDS if await asyncio.to_thread(_wanted_of_late, here, engine_id) else 0
    )
    beat_at = begun
    while stop.reason is None and time.monotonic() < begun + DRAIN_SECONDS_MAX:
        if time.monotonic() >= heard_at and await server.requests_in_flight() == 0:
            return
        if time.monotonic() >= beat_at:
            await _orders(here, engine_id)  # so that nobody takes it for dead
            beat_at = time.monotonic() + HEARTBEAT_SECONDS
        await asyncio.sleep(DRAIN_POLL_SECONDS)


def _wanted_of_late(here: Yard, engine_id: str) -> bool:
    with here.database.read() as tx:
        engine = engines.get(tx, engine_id)
        late = clock.now() - timedelta(seconds=WANTED_OF_LATE_SECONDS)
        return engine is not None and engine.ready_at is not None and engine.needed_at >= late


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
