"""The adapters of one engine as rows: written by the flow that watches the engine, read by batch drivers."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.adapters.model import Adapter, Origin
from orchestrator.engines import residency
from orchestrator.engines.model import BatchDemand, Engine, EngineAdapter, SandboxDemand
from orchestrator.engines.residency import Resident
from orchestrator.engines.service import DEMAND_FRESH_SECONDS, SANDBOX_FRESH_SECONDS

PUBLISHED_SECONDS = 600  # how long a new adapter is loaded without being asked for
REASON_MAX = 1000


@dataclass(frozen=True)
class Orders:
    """What the engine shall have: exactly the names in `keep`, and then the adapters in `load`."""

    keep: frozenset[str]
    load: tuple[Adapter, ...]
    unload: tuple[str, ...]


def review(tx: Session, engine: Engine, *, loaded_max: int) -> Orders:
    """See what is wanted of the engine now and decide. What is to be unloaded is not offered any more from
    the moment this commits; what is to be loaded is once `loaded` says so."""
    now = clock.now()
    wanted = _wanted(tx, engine.model)
    found = tx.exec(select(EngineAdapter).where(EngineAdapter.engine_id == engine.id).with_for_update())
    rows = {row.adapter_id: row for row in found}
    published = _published(tx, engine.model, loaded_max)
    for adapter_id, row in list(rows.items()):
        if adapter_id in wanted:
            row.wanted_at = row.wanted_at if row.loaded_at is None else now
        elif row.loaded_at is None and not (row.failure and adapter_id in published):
            tx.delete(rows.pop(adapter_id))  # wanted no more; a failure, too, is tried again if it is
    for adapter_id in wanted.keys() - rows.keys():
        rows[adapter_id] = EngineAdapter(engine_id=engine.id, adapter_id=adapter_id, wanted_at=now)
        tx.add(rows[adapter_id])
    adapters = {a.id: a for a in tx.exec(select(Adapter).where(col(Adapter.id).in_([*rows, *published])))}
    changes = residency.decide(
        [
            Resident(
                adapter_id=row.adapter_id,
                priority=wanted.get(row.adapter_id),
                wanted_at=row.wanted_at,
                loaded_at=row.loaded_at,
                deleted=adapters[row.adapter_id].deleted_at is not None,
            )
            for row in rows.values()
            if row.failure is None
        ],
        [name for name in published if name not in rows],
        loaded_max=loaded_max,
        now=now,
    )
    for adapter_id in changes.unload:
        if adapter_id in wanted:  # its turn is over: it waits for the next
            rows[adapter_id].loaded_at = None
            rows[adapter_id].wanted_at = now
        else:
            tx.delete(rows.pop(adapter_id))
    for adapter_id in changes.load:
        if adapter_id not in rows:
            tx.add(EngineAdapter(engine_id=engine.id, adapter_id=adapter_id, wanted_at=now))
    return Orders(
        keep=frozenset(row.adapter_id for row in rows.values() if row.loaded_at is not None),
        load=tuple(adapters[adapter_id] for adapter_id in changes.load),
        unload=tuple(changes.unload),
    )


def loaded(tx: Session, engine_id: str, adapter_id: str) -> None:
    """The engine answers to the adapter's name."""
    if row := tx.get(EngineAdapter, (engine_id, adapter_id)):
        row.loaded_at = clock.now()


def refused(tx: Session, engine_id: str, adapter_id: str, reason: str) -> None:
    """The engine will not take the adapter, whoever asks."""
    if row := tx.get(EngineAdapter, (engine_id, adapter_id)):
        row.failure = reason[:REASON_MAX]


def digests_in_use(tx: Session) -> set[str]:
    """Of the adapters that any engine has, or waits for: their files must stay."""
    return set(
        tx.exec(select(Adapter.digest).join(EngineAdapter, col(EngineAdapter.adapter_id) == col(Adapter.id)))
    )


def _wanted(tx: Session, base: str) -> dict[str, int]:
    """The adapters that live drivers have lines for, with the priority of the most urgent, and those that
    synchronous requests have asked for of late."""
    fresh = clock.now() - timedelta(seconds=DEMAND_FRESH_SECONDS)
    found = tx.exec(
        select(BatchDemand.model, func.min(BatchDemand.priority))
        .join(Adapter, col(Adapter.id) == col(BatchDemand.model))
        .where(BatchDemand.base == base, col(BatchDemand.lines) > 0, col(BatchDemand.heartbeat_at) >= fresh)
        .group_by(col(BatchDemand.model))
    )
    since = clock.now() - timedelta(seconds=SANDBOX_FRESH_SECONDS)
    asked = tx.exec(
        select(SandboxDemand.model, func.min(SandboxDemand.priority))
        .join(Adapter, col(Adapter.id) == col(SandboxDemand.model))
        .where(SandboxDemand.base == base, col(SandboxDemand.asked_at) >= since)
        .group_by(col(SandboxDemand.model))
    )
    return dict(asked.all()) | dict(found.all())


def _published(tx: Session, base: str, limit: int) -> list[str]:
    """New adapters, the newest first; checkpoints are not among them."""
    since = clock.now() - timedelta(seconds=PUBLISHED_SECONDS)
    return list(
        tx.exec(
            select(Adapter.id)
            .where(
                Adapter.base_model == base,
                Adapter.origin != Origin.CHECKPOINT,
                col(Adapter.deleted_at).is_(None),
                col(Adapter.created_at) >= since,
            )
            .order_by(col(Adapter.created_at).desc())
            .limit(limit)
        )
    )
