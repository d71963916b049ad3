"""What a running batch wants of engines, and what it gets: its part of those of its models.

Every driver writes its own demand and reads everybody's, so each computes the same division by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from orchestrator import clock, fairness
from orchestrator.engines import service as engines
from orchestrator.engines.model import BatchDemand, Engine
from orchestrator.engines.placement import FAILURES_MAX

ENGINE_HISTORY_SECONDS = 600  # an engine that failed longer ago says nothing of the next
FILL = 2.0  # lines in flight per place in an engine: its queue holds the next wave, and no more


@dataclass(frozen=True)
class Share:
    """How many lines of this batch one engine may hold at once now."""

    engine_id: str
    url: str
    api_key: str | None
    slots: int


def demand(tx: Session, batch_id: str, remaining: Mapping[str, int], *, weight: float, priority: int) -> None:
    """Say how many lines the batch still has for each model."""
    moment = clock.now()
    for model, lines in remaining.items():
        row = {"lines": lines, "weight": weight, "priority": priority, "heartbeat_at": moment}
        tx.execute(
            insert(BatchDemand)
            .values(batch_id=batch_id, model=model, base=model, since=moment, **row)
            .on_conflict_do_update(index_elements=["batch_id", "model"], set_=row)
        )


def end_demand(tx: Session, batch_id: str) -> None:
    """The batch wants nothing more."""
    tx.execute(delete(BatchDemand).where(col(BatchDemand.batch_id) == batch_id))


def shares(tx: Session, batch_id: str, ready: Sequence[Engine]) -> dict[str, list[Share]]:
    """This batch's part of each engine: weighted max-min over every batch that wants the model."""
    fresh = clock.now() - timedelta(seconds=engines.DEMAND_FRESH_SECONDS)
    models = {e.model for e in ready}
    rows = tx.exec(
        select(BatchDemand).where(col(BatchDemand.model).in_(models), col(BatchDemand.heartbeat_at) >= fresh)
    ).all()
    result: dict[str, list[Share]] = {}
    for model in models:
        demands = {r.batch_id: fairness.Demand(r.lines, r.weight) for r in rows if r.model == model}
        pool = [e for e in ready if e.model == model and e.url]
        capacities = [int(e.capacity * FILL) for e in pool]
        division = fairness.shares(sum(capacities), demands)
        mine = fairness.spread(division, capacities).get(batch_id, [0] * len(pool))
        result[model] = [
            Share(e.id, e.url or "", e.api_key, slots) for e, slots in zip(pool, mine, strict=True)
        ]
    return result


def given_up(tx: Session, missing: Sequence[str]) -> str | None:
    """What the engine of a model said last, if no engine for that model can be started."""
    since = clock.now() - timedelta(seconds=ENGINE_HISTORY_SECONDS)
    for model, failed in engines.failures(tx, missing, since=since).items():
        if failed.count >= FAILURES_MAX:
            return f"{model}: {failed.last_words}"
    return None


def waiting_for(tx: Session, missing: Sequence[str]) -> str:
    live = [e for e in engines.live(tx) if e.model in missing]
    if not live:
        return f"a GPU for {', '.join(missing)}"
    return "; ".join(f"the engine for {e.model}, which is {e.status}" for e in live)
