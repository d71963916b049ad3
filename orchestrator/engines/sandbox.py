"""Engines for synchronous requests: where one can be answered now, and that somebody has asked.

The sandbox runs on what is warm. Asking starts an engine, as the least urgent of all that is wanted, and has
an adapter loaded; who has asked of late keeps both.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from sqlalchemy import case, delete
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.adapters import model as adapters
from orchestrator.adapters.catalog import ServedModel
from orchestrator.database.session import notify
from orchestrator.engines import service as engines
from orchestrator.engines.model import Engine, EngineAdapter, SandboxDemand
from orchestrator.engines.placement import FAILURES_MAX

CHANNEL = "sandbox"  # notified when a model is first asked for
NOTED_EVERY_SECONDS = 5
STARTS_LOOKED_AT = 5


@dataclass(frozen=True)
class Place:
    """An engine that answers for the model now. `remote`: somebody else's, which knows no priorities."""

    url: str
    api_key: str | None
    remote: bool


@dataclass(frozen=True)
class Absent:
    """No engine answers for the model now. `loading`: one for its base is about to have the adapter.
    `why_not`: what engines said that will not have the model. `start_seconds`: what its engines took to
    start of late, None where none has."""

    loading: bool
    why_not: str | None
    start_seconds: float | None


def find(tx: Session, model: ServedModel) -> Place | Absent:
    """Any of the engines that have the model now, or why there is none."""
    ready = [engine for engine in engines.ready(tx, [model.base]) if engine.url]
    rows = _of_adapter(tx, model, ready)
    serving = [engine for engine in ready if model.adapter is None or _has(rows.get(engine.id))]
    if serving:
        engine = random.choice(serving)
        return Place(engine.url or "", engine.api_key, engine.remote)
    takers = [engine for engine in ready if engine.lora]
    refusals = [row.failure for engine in takers if (row := rows.get(engine.id)) and row.failure]
    return Absent(
        loading=len(takers) > len(refusals),
        why_not=refusals[0] if refusals and len(refusals) == len(takers) else _failure(tx, model, ready),
        start_seconds=_start_seconds(tx, model.base),
    )


def ask(tx: Session, model: ServedModel, *, organization_id: str) -> None:
    """Note that somebody wants the model; wake whoever starts engines and loads adapters, if that is news."""
    now = clock.now()
    stale = now - timedelta(seconds=engines.SANDBOX_FRESH_SECONDS)
    new = insert(SandboxDemand).values(
        organization_id=organization_id,
        model=model.id,
        base=model.base,
        priority=engines.SANDBOX_PRIORITY,
        since=now,
        asked_at=now,
    )
    written = tx.execute(
        new.on_conflict_do_update(
            index_elements=["organization_id", "model"],
            set_={
                "asked_at": now,
                "since": case((col(SandboxDemand.asked_at) < stale, now), else_=col(SandboxDemand.since)),
            },
            where=col(SandboxDemand.asked_at) < now - timedelta(seconds=NOTED_EVERY_SECONDS),
        ).returning(col(SandboxDemand.model))
    )
    if written.first() is not None:
        notify(tx, CHANNEL)
        if model.adapter is not None:
            notify(tx, adapters.CHANNEL)


def forget_stale(tx: Session) -> int:
    """Remove what nobody has asked for of late; how many."""
    stale = clock.now() - timedelta(seconds=engines.SANDBOX_FRESH_SECONDS)
    gone = tx.execute(delete(SandboxDemand).where(col(SandboxDemand.asked_at) < stale))
    return int(gone.rowcount)  # type: ignore[attr-defined]  # a DELETE's cursor result has it


def _of_adapter(tx: Session, model: ServedModel, ready: Sequence[Engine]) -> dict[str, EngineAdapter]:
    """What each engine has made of the adapter; nothing where the model is a base."""
    if model.adapter is None:
        return {}
    rows = tx.exec(
        select(EngineAdapter).where(
            EngineAdapter.adapter_id == model.id,
            col(EngineAdapter.engine_id).in_([engine.id for engine in ready]),
        )
    )
    return {row.engine_id: row for row in rows}


def _has(row: EngineAdapter | None) -> bool:
    return row is not None and row.loaded_at is not None


def _failure(tx: Session, model: ServedModel, ready: Sequence[Engine]) -> str | None:
    """The last words of engines that could not be started, time after time."""
    if ready:
        return None
    since = clock.now() - timedelta(seconds=engines.HISTORY_SECONDS)
    failed = engines.failures(tx, [model.base], since=since).get(model.base)
    return failed.last_words if failed and failed.count >= FAILURES_MAX else None


def _start_seconds(tx: Session, base: str) -> float | None:
    """From the decision to start one to its first answer."""
    latest = tx.exec(
        select(Engine)
        .where(Engine.model == base, col(Engine.ready_at).is_not(None), col(Engine.remote).is_(False))
        .order_by(col(Engine.created_at).desc())
        .limit(STARTS_LOOKED_AT)
    )
    took = [(engine.ready_at - engine.created_at).total_seconds() for engine in latest if engine.ready_at]
    return median(took) if took else None
