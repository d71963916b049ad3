"""What a running batch wants of engines, and what it gets: its part of those of its models' bases.

Every driver writes its own demand and reads everybody's, so each computes the same division by itself. An
engine is shared between batches first and inside a batch between its models, so a batch gets no more for
naming twenty adapters. An adapter's lines count only where it is loaded: what waits for a load holds no slot.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Label, delete, literal_column
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from orchestrator import clock, fairness
from orchestrator.adapters.catalog import ServedModel
from orchestrator.adapters.model import CHANNEL
from orchestrator.batches.model import Batch
from orchestrator.database.session import notify
from orchestrator.engines import reservations
from orchestrator.engines import service as engines
from orchestrator.engines.model import BatchDemand, Engine, EngineAdapter

FILL = 2.0  # lines in flight per place in an engine: its queue holds the next wave, and no more

Pairs = Mapping[tuple[str, str], int]  # (batch, model) -> lines


@dataclass(frozen=True)
class Share:
    """How many lines of this batch one engine may hold at once now."""

    engine_id: str
    url: str
    api_key: str | None
    slots: int


@dataclass(frozen=True)
class Serving:
    """The engines that take lines now, and which adapters each has: `loaded` by engine, `refused` with the
    reason by engine and adapter."""

    engines: Sequence[Engine]
    loaded: Mapping[str, frozenset[str]]
    refused: Mapping[str, Mapping[str, str]]

    def serves(self, engine: Engine, model: str) -> bool:
        """Whether lines that name the model can go to this engine now."""
        return engine.model == model or model in self.loaded.get(engine.id, ())

    def refusal(self, model: ServedModel) -> str | None:
        """Why no engine there is would take the adapter; None while one may."""
        pool = [engine for engine in self.engines if engine.model == model.base and engine.lora]
        reasons = [self.refused.get(engine.id, {}).get(model.id) for engine in pool]
        return next(filter(None, reasons), None) if all(reasons) else None


def demand(
    tx: Session,
    batch: Batch,
    remaining: Mapping[str, int],
    named: Mapping[str, ServedModel],
    *,
    weight: float,
    priority: int,
) -> None:
    """Say how many lines the batch still has for each model. Engines hear of an adapter's first at once."""
    if not remaining:
        return
    moment = clock.now()
    rows = [
        {
            "batch_id": batch.id,
            "model": model,
            "organization_id": batch.organization_id,
            "base": named[model].base,
            "lines": lines,
            "weight": weight,
            "priority": priority,
            "since": moment,
            "heartbeat_at": moment,
        }
        for model, lines in sorted(remaining.items())
    ]
    new = insert(BatchDemand).values(rows)
    changes = {name: new.excluded[name] for name in ("lines", "weight", "priority", "heartbeat_at")}
    is_new: Label[bool] = literal_column("xmax = 0").label("is_new")  # a row without an earlier version
    written = tx.execute(
        new.on_conflict_do_update(index_elements=["batch_id", "model"], set_=changes).returning(
            col(BatchDemand.model), is_new
        )
    )
    if any(row.is_new and named[row.model].adapter for row in written):
        notify(tx, CHANNEL)


def end_demand(tx: Session, batch_id: str) -> None:
    """The batch wants nothing more."""
    tx.execute(delete(BatchDemand).where(col(BatchDemand.batch_id) == batch_id))


def serving(tx: Session, bases: Iterable[str]) -> Serving:
    """The engines of these base models that take lines now, with the adapters they have."""
    ready = [engine for engine in engines.ready(tx, bases) if engine.url]
    loaded: dict[str, set[str]] = defaultdict(set)
    refused: dict[str, dict[str, str]] = defaultdict(dict)
    for row in tx.exec(
        select(EngineAdapter).where(col(EngineAdapter.engine_id).in_([engine.id for engine in ready]))
    ):
        if row.failure is not None:
            refused[row.engine_id][row.adapter_id] = row.failure
        elif row.loaded_at is not None:
            loaded[row.engine_id].add(row.adapter_id)
    return Serving(ready, {key: frozenset(names) for key, names in loaded.items()}, refused)


def shares(tx: Session, batch_id: str, now: Serving) -> dict[str, list[Share]]:
    """This batch's part of each engine, by model; a model that no engine serves now is missing.

    Engines that serve the same of the demanded models are one pool, and each pool is divided by itself:
    first what is reserved of the base, then by weight. Lines that could go to several pools, and what is
    reserved for their organization, count in each by its size.
    """
    fresh = clock.now() - timedelta(seconds=engines.DEMAND_FRESH_SECONDS)
    bases = {engine.model for engine in now.engines}
    demands = tx.exec(
        select(BatchDemand).where(
            col(BatchDemand.base).in_(bases),
            col(BatchDemand.lines) > 0,
            col(BatchDemand.heartbeat_at) >= fresh,
        )
    ).all()
    wishes = {row.batch_id: row for row in demands}
    wanted = {(row.batch_id, row.model): row.lines for row in demands}
    pools: dict[tuple[str, frozenset[str]], list[Engine]] = defaultdict(list)
    for engine in now.engines:
        models = frozenset(model for _, model in wanted if now.serves(engine, model))
        pools[engine.model, models].append(engine)
    room: dict[str, int] = defaultdict(int)  # by model, over all pools that serve it
    for (_, models), pool in pools.items():
        for model in models:
            room[model] += sum(map(_places, pool))
    total: Counter[str] = Counter()  # places, by base
    reach: Counter[tuple[str, str]] = Counter()  # of them, those where an organization's lines can go
    for (base, models), pool in pools.items():
        size = sum(map(_places, pool))
        total[base] += size
        for owner in {row.organization_id for row in demands if row.model in models}:
            reach[base, owner] += size
    reserved = reservations.parts(tx, Counter(engine.model for engine in now.engines))
    result: dict[str, list[Share]] = defaultdict(list)
    for (base, models), pool in pools.items():
        size = sum(map(_places, pool))
        pairs = {
            (batch, model): -(-lines * size // room[model])
            for (batch, model), lines in wanted.items()
            if model in models
        }
        demands_here = _by_batch(pairs, wishes)
        floors = {
            owner: reservations.places(part * total[base] / reach[base, owner], size)
            for owner, part in reserved.get(base, {}).items()
            if reach[base, owner]
        }
        capacities = [_places(engine) for engine in pool]
        division = fairness.shares(size, demands_here, reserved=floors)
        for model, slots in _mine(batch_id, pairs, division, capacities).items():
            result[model] += [
                Share(engine.id, engine.url or "", engine.api_key, count)
                for engine, count in zip(pool, slots, strict=True)
            ]
    return dict(result)


def _places(engine: Engine) -> int:
    return int(engine.capacity * FILL)


def _by_batch(pairs: Pairs, wishes: Mapping[str, BatchDemand]) -> dict[str, fairness.Demand]:
    """What each batch wants of a pool, over all its models."""
    lines: Counter[str] = Counter()
    for (batch, _), count in pairs.items():
        lines[batch] += count
    return {
        batch: fairness.Demand(count, wishes[batch].weight, owner=wishes[batch].organization_id)
        for batch, count in lines.items()
    }


def _mine(
    batch_id: str, pairs: Pairs, division: Mapping[str, int], capacities: Sequence[int]
) -> dict[str, list[int]]:
    """One batch's slots on each engine of a pool, by model: of the division between batches its own, which is
    divided between its models by their lines, so that they end together."""
    own = fairness.spread(division, capacities).get(batch_id, [0] * len(capacities))
    models = {model: fairness.Demand(n, n) for (batch, model), n in pairs.items() if batch == batch_id}
    return fairness.spread(fairness.shares(sum(own), models), own)
