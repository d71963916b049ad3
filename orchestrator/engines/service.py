"""Engines as rows: requested by the dispatcher, watched by their flow, used by batch drivers."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.engines import reservations
from orchestrator.engines.model import (
    ENGINE,
    LIVE,
    BatchDemand,
    Engine,
    EngineAdapter,
    EngineStatus,
    EngineTrigger,
    SandboxDemand,
)
from orchestrator.engines.situation import Failures, Running, Wanted
from orchestrator.models.registry import ModelSpec, Registry
from orchestrator.state_machine import transition

LOST_AFTER_SECONDS = 20  # without a heartbeat, an engine's watcher is dead and so is the engine
DEMAND_FRESH_SECONDS = 30  # a demand older than this belongs to a driver that died
SANDBOX_FRESH_SECONDS = 300  # so long after a synchronous request its model is wanted
SANDBOX_PRIORITY = 1_000  # after every tier's batches
HISTORY_SECONDS = 600  # an engine that failed longer ago says nothing of the next
LAST_WORDS_MAX = 4000
HISTORY_MAX = 20


def request(tx: Session, spec: ModelSpec, *, api_key: str, lora: bool = False) -> Engine:
    """A new engine for `spec`, to be started by a `serve-engine` flow run; with `lora` it takes adapters,
    where the model has any."""
    moment = clock.now()
    engine = Engine(
        id=ids.new("eng_"),
        model=spec.id,
        lora=lora and spec.lora is not None,
        api_key=api_key,
        capacity=spec.max_num_seqs,
        gpus=spec.gpus,
        heartbeat_at=moment,
        needed_at=moment,
        created_at=moment,
    )
    tx.add(engine)
    return engine


def get(tx: Session, engine_id: str) -> Engine | None:
    """The engine, live or not."""
    return tx.get(Engine, engine_id)


def live(tx: Session) -> list[Engine]:
    """Every engine that holds GPUs or waits for some, and every remote one that answers."""
    return list(tx.exec(select(Engine).where(col(Engine.status).in_(LIVE))))


def ready(tx: Session, models: Iterable[str]) -> list[Engine]:
    """Engines of these models that take lines now, oldest first."""
    fresh = clock.now() - timedelta(seconds=LOST_AFTER_SECONDS)
    return list(
        tx.exec(
            select(Engine)
            .where(
                col(Engine.model).in_(list(models)),
                Engine.status == EngineStatus.READY,
                col(Engine.heartbeat_at) >= fresh,
            )
            .order_by(col(Engine.created_at))
        )
    )


def starting(tx: Session, engine: Engine, *, flow_run_id: str) -> bool:
    """Its flow begins. False if it was drained, or taken for dead, meanwhile."""
    if engine.status is not EngineStatus.REQUESTED:
        return False
    engine.flow_run_id = flow_run_id
    engine.heartbeat_at = clock.now()
    return transition(tx, engine, ENGINE, EngineTrigger.STARTED, actor="system")


def answered(tx: Session, engine: Engine, *, url: str) -> bool:
    """Its server answers at `url`: lines may be sent."""
    if engine.status is not EngineStatus.STARTING:
        return False
    engine.url = url
    engine.heartbeat_at = clock.now()
    return transition(tx, engine, ENGINE, EngineTrigger.ANSWERED, actor="system")


def heartbeat(tx: Session, engine_id: str) -> Engine:
    """Say that the engine is being watched, and read what has become of it."""
    engine = tx.get_one(Engine, engine_id, with_for_update=True)
    if engine.status in LIVE:
        engine.heartbeat_at = clock.now()
    return engine


def drain(tx: Session, engine: Engine, *, reason: str) -> bool:
    """No new lines; the flow that watches it ends it. One not yet started ends here."""
    return transition(tx, engine, ENGINE, EngineTrigger.DRAIN, actor="system", reason=reason)


def ended(tx: Session, engine: Engine) -> bool:
    """Its server was stopped on purpose."""
    _forget_adapters(tx, engine)
    return transition(tx, engine, ENGINE, EngineTrigger.ENDED, actor="system")


def died(tx: Session, engine: Engine, *, last_words: str) -> bool:
    """It could not start, or stopped by itself; `last_words` are what its log said last."""
    engine.last_words = last_words[-LAST_WORDS_MAX:]
    _forget_adapters(tx, engine)
    return transition(tx, engine, ENGINE, EngineTrigger.DIED, actor="system", reason=engine.last_words)


def lost(tx: Session) -> list[Engine]:
    """Engines whose watcher has been silent too long; each is now failed, its GPUs free."""
    silent = clock.now() - timedelta(seconds=LOST_AFTER_SECONDS)
    engines = tx.exec(
        select(Engine)
        .where(col(Engine.status).in_(LIVE), col(Engine.heartbeat_at) < silent)
        .with_for_update(skip_locked=True)
    ).all()
    return [e for e in engines if died(tx, e, last_words=f"{LOST_WORDS} ({e.status})")]


def _forget_adapters(tx: Session, engine: Engine) -> None:
    tx.execute(delete(EngineAdapter).where(col(EngineAdapter.engine_id) == engine.id))


LOST_WORDS = "the worker that watched this engine is gone"


def keep_remote(tx: Session, spec: ModelSpec, *, url: str, api_key: str | None) -> None:
    """Somebody else's engine answers its health check: keep, or make, its row."""
    moment = clock.now()
    engine = tx.exec(
        select(Engine).where(Engine.model == spec.id, Engine.remote, Engine.status == EngineStatus.READY)
    ).first()
    if engine is None:
        engine = Engine(
            id=ids.new("eng_"),
            model=spec.id,
            remote=True,
            status=EngineStatus.READY,
            capacity=spec.max_num_seqs,
            gpus=0,
            created_at=moment,
            ready_at=moment,
            needed_at=moment,
            heartbeat_at=moment,
        )
        tx.add(engine)
    engine.url, engine.api_key, engine.heartbeat_at = url, api_key, moment


def wanted(tx: Session, registry: Registry) -> list[Wanted]:
    """What live drivers want, one entry a local base model; their engines are marked as needed."""
    moment = clock.now()
    fresh = moment - timedelta(seconds=DEMAND_FRESH_SECONDS)
    demanded = (col(BatchDemand.heartbeat_at) >= fresh, col(BatchDemand.lines) > 0)
    rows: Sequence[Sequence[Any]] = tx.exec(
        select(
            BatchDemand.base,
            func.sum(BatchDemand.lines),
            func.min(BatchDemand.priority),
            func.min(BatchDemand.since),
        )
        .where(*demanded)
        .group_by(col(BatchDemand.base))
    ).all()
    adapted = set(
        tx.exec(
            select(BatchDemand.base)
            .where(*demanded, col(BatchDemand.model) != col(BatchDemand.base))
            .distinct()
        )
    )
    asked = _asked_for(tx, besides={base for base, _, _, _ in rows})
    rows = [*rows, *((base, 1, SANDBOX_PRIORITY, since) for base, (since, _) in asked.items())]
    adapted |= {base for base, (_, adapters) in asked.items() if adapters}
    aside = _put_aside(tx, [base for base, _, _, _ in rows])
    reserved = reservations.at_work(tx, since=fresh)
    result: list[Wanted] = []
    for base, lines, priority, since in rows:
        spec = registry.get(base)
        if spec is None or spec.url is not None:
            continue
        result.append(
            Wanted(
                model=base,
                lines=int(lines),
                priority=priority,
                since=max(since, aside.get(base, since)),
                gpus=spec.gpus,
                capacity=spec.max_num_seqs,
                idle_seconds=spec.idle_seconds,
                lora=base in adapted and spec.lora is not None,
                reserved=reserved.get(base, 0),
                trial=base in asked,
            )
        )
    needed = {w.model for w in result}
    for engine in live(tx):
        if engine.model in needed:
            engine.needed_at = moment
    return result


def _asked_for(tx: Session, *, besides: set[str]) -> dict[str, tuple[datetime, bool]]:
    """Bases that synchronous requests alone want: since when, and whether adapters among them. An engine
    that batches use never gives way to one that takes adapters for their sake."""
    fresh = clock.now() - timedelta(seconds=SANDBOX_FRESH_SECONDS)
    found = tx.exec(
        select(
            SandboxDemand.base,
            func.min(SandboxDemand.since),
            func.bool_or(col(SandboxDemand.model) != col(SandboxDemand.base)),
        )
        .where(col(SandboxDemand.asked_at) >= fresh, col(SandboxDemand.base).not_in(besides))
        .group_by(col(SandboxDemand.base))
    )
    return {base: (since, adapters) for base, since, adapters in found}


def _put_aside(tx: Session, models: Iterable[str]) -> dict[str, datetime]:
    """When an engine of each model was last told to end: who has had a turn goes behind who waits."""
    found = tx.exec(
        select(Engine.model, func.max(col(Engine.draining_at)))
        .where(col(Engine.model).in_(list(models)), col(Engine.draining_at).is_not(None))
        .group_by(col(Engine.model))
    )
    return {model: moment for model, moment in found if moment is not None}


def running(tx: Session, registry: Registry) -> list[Running]:
    """Live local engines, as placement sees them."""
    result: list[Running] = []
    for engine in live(tx):
        spec = registry.get(engine.model)
        if engine.remote:
            continue
        result.append(
            Running(
                id=engine.id,
                model=engine.model,
                status=engine.status,
                gpus=engine.gpus,
                ready_at=engine.ready_at,
                needed_at=engine.needed_at,
                idle_seconds=spec.idle_seconds if spec else 0,
                lora=engine.lora,
            )
        )
    return result


def failures(tx: Session, models: Iterable[str], *, since: datetime) -> dict[str, Failures]:
    """Per model, the engines that failed in a row since one last became ready, after `since`."""
    result: dict[str, Failures] = {}
    for model in models:
        history = tx.exec(
            select(Engine)
            .where(Engine.model == model, col(Engine.created_at) >= since)
            .order_by(col(Engine.created_at).desc())
            .limit(HISTORY_MAX)
        ).all()
        row: list[Engine] = []
        for engine in history:
            if engine.ready_at is not None or engine.status is not EngineStatus.FAILED:
                break
            if not (engine.last_words or "").startswith(LOST_WORDS):  # says nothing of the model
                row.append(engine)
        if row and row[0].failed_at is not None:
            result[model] = Failures(
                count=len(row), last_at=row[0].failed_at, last_words=row[0].last_words or ""
            )
    return result
