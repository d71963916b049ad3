"""The quote of a prepared file: `metering/quotes.py` over what the yard has seen of its models.

Output lengths come from the latest charges of each model, the organization's own first; its pace from the
latest quotes that were settled; what shares its engines from the batches that are live. An adapter has the
prices and the engines of its base, and the base's history until it has one of its own.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from statistics import median
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches import quote_book
from orchestrator.batches.neighbours import now_beside
from orchestrator.batches.sharing import FILL
from orchestrator.batches.sizing import ModelSums
from orchestrator.engines import reservations
from orchestrator.engines import service as engines
from orchestrator.engines.model import Engine
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.fairness import Demand
from orchestrator.metering.model import Usage, UsageKind
from orchestrator.metering.pace import P90_FALLBACK, pace_of
from orchestrator.metering.prices import CURRENCY, MICROS, Prices, Rate
from orchestrator.metering.quotes import ModelLoad, OutputHistory, quote

HISTORY_ROWS = 50  # latest charges and batches looked at
ENGINE_START_SECONDS = 60.0  # assumed where none of the model has ever started
STARTS_LOOKED_AT = 20


def estimate(
    tx: Session,
    sums: Mapping[str, ModelSums],
    *,
    named: Mapping[str, ServedModel],
    rates: Mapping[str, Rate],
    tiers: Tiers,
    tier: Tier,
    organization_id: str,
    batch_id: str | None = None,
) -> dict[str, Any]:
    """The fields of a Quote, costs also in dollars: what a batch's `estimate` shows. `rates` are what will be
    charged. `batch_id` is None where there is no batch yet."""
    loads = {}
    for name, of_model in sums.items():
        if (model := named.get(name)) is None:
            continue
        load = _load(tx, model, of_model, rates[name].prices, organization_id)
        places, reserved = _places(tx, model)
        neighbours = now_beside(
            tx,
            model.base,
            Demand(load.lines, tier.weight, owner=organization_id),
            but=batch_id,
            places=places,
            reserved=reserved,
            answer_tokens=load.history.mean() if load.history else 0.0,
            tiers=tiers,
        )
        loads[name] = replace(load, neighbours=neighbours)
    quoted = quote(loads, tier.batch_discount)
    return asdict(quoted) | {
        "expected_cost": quoted.expected_cost_micros / MICROS,
        "worst_cost": quoted.worst_cost_micros / MICROS,
        "currency": CURRENCY,
    }


def _load(
    tx: Session, model: ServedModel, sums: ModelSums, prices: Prices, organization_id: str
) -> ModelLoad:
    own = organization_id
    history = _history(tx, model.id, own) or _history(tx, model.base, own)
    done = quote_book.done(tx, model.id) or quote_book.done(tx, model.base)
    start, late_start = _start_seconds(tx, model.base)
    return ModelLoad(
        lines=sums.lines,
        prompt_tokens=sums.prompt_tokens,
        max_output_tokens=sums.max_output_tokens,
        prices=prices,
        history=history,
        pace=pace_of(done),
        start_seconds=start,
        late_start_seconds=late_start,
    )


def _places(tx: Session, model: ServedModel) -> tuple[int, dict[str, int]]:
    """For lines, in the engines that are ready, of one engine where none is; and those that are reserved, by
    organization."""
    ready = engines.ready(tx, [model.base])
    places = int((sum(engine.capacity for engine in ready) or model.spec.max_num_seqs) * FILL)
    parts = reservations.parts(tx, {model.base: len(ready)}).get(model.base, {})
    return places, {owner: reservations.places(part, places) for owner, part in parts.items()}


def _history(tx: Session, model: str, organization_id: str) -> OutputHistory | None:
    everybody = _answers(tx, model, None)
    if not everybody[0]:
        return None
    return OutputHistory(*everybody, *_answers(tx, model, organization_id))


def _answers(tx: Session, model: str, organization_id: str | None) -> tuple[int, int]:
    """Lines and output tokens of the latest charges of a model, of everybody or of one organization."""
    theirs = () if organization_id is None else (Usage.organization_id == organization_id,)
    latest = (
        select(Usage.lines, Usage.output_tokens)
        .where(Usage.model == model, Usage.kind == UsageKind.BATCH, Usage.lines > 0, *theirs)
        .order_by(col(Usage.at).desc())
        .limit(HISTORY_ROWS)
        .subquery()
    )
    lines, tokens = tx.exec(select(func.sum(latest.c.lines), func.sum(latest.c.output_tokens))).one()
    return int(lines or 0), int(tokens or 0)


def _start_seconds(tx: Session, base: str) -> tuple[float, float]:
    """How long an engine of the base takes to start, by the latest that did: as a rule, and in one case of
    ten. Both are 0 where one is ready."""
    if engines.ready(tx, [base]):
        return 0.0, 0.0
    latest = tx.exec(
        select(Engine)
        .where(Engine.model == base, col(Engine.ready_at).is_not(None))
        .order_by(col(Engine.ready_at).desc())
        .limit(STARTS_LOOKED_AT)
    ).all()
    took = sorted(
        (engine.ready_at - engine.created_at).total_seconds() for engine in latest if engine.ready_at
    )
    if not took:
        return ENGINE_START_SECONDS, ENGINE_START_SECONDS * P90_FALLBACK
    return median(took), took[min(len(took) - 1, int(len(took) * 0.9))]
