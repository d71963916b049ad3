"""Engines for synchronous requests: where one can be answered now, and that somebody has asked.

The sandbox runs on what is warm. Asking starts an engine, as the least urgent of all that is wanted, and has
an adapter loaded; who has asked of late keeps both.
"""

import random
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.adapters.catalog import ServedModel
from orchestrator.adapters.model import CHANNEL
from orchestrator.database.session import notify
from orchestrator.engines import service as engines
from orchestrator.engines.model import EngineAdapter, SandboxDemand

DISPATCHER_CHANNEL = "jobs"  # what wakes the dispatcher, which places engines


@dataclass(frozen=True)
class Place:
    """An engine that answers for the model now. `remote`: somebody else's, which knows no priorities."""

    url: str
    api_key: str | None
    remote: bool


def place(tx: Session, model: ServedModel) -> Place | None:
    """Any of the engines that have the model; None where none does."""
    ready = [engine for engine in engines.ready(tx, [model.base]) if engine.url]
    if model.adapter is not None:
        loaded = tx.exec(
            select(EngineAdapter.engine_id).where(
                EngineAdapter.adapter_id == model.id, col(EngineAdapter.loaded_at).is_not(None)
            )
        ).all()
        ready = [engine for engine in ready if engine.id in set(loaded)]
    if not ready:
        return None
    engine = random.choice(ready)
    return Place(engine.url or "", engine.api_key, engine.remote)


def ask(tx: Session, model: ServedModel, *, organization_id: str) -> None:
    """Note that somebody wants the model; wake whoever starts engines and loads adapters, if that is news."""
    now = clock.now()
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
            set_={"asked_at": now},
            where=col(SandboxDemand.asked_at) < now - timedelta(seconds=engines.SANDBOX_NOTED_EVERY_SECONDS),
        ).returning(col(SandboxDemand.model))
    )
    if written.first() is not None:
        notify(tx, CHANNEL if model.adapter else DISPATCHER_CHANNEL)
