"""The quote of a prepared file: `metering/quotes.py` over what the yard has seen of its models.

Output lengths come from the latest charges of each model; its rate from the latest completed batches,
the best of them, since a small batch cannot fill an engine; what is ahead from the batches that run. An
adapter has the prices and the engines of its base, and the base's history until it has one of its own.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches.model import Batch
from orchestrator.batches.sizing import ModelSums
from orchestrator.batches.states import BatchStatus
from orchestrator.engines import service as engines
from orchestrator.engines.model import BatchDemand
from orchestrator.entitlements.tiers import Tier
from orchestrator.metering.model import Usage
from orchestrator.metering.prices import CURRENCY, MICROS, Prices, Rate
from orchestrator.metering.quotes import ModelLoad, OutputHistory, quote

HISTORY_ROWS = 50  # latest charges and batches looked at
ENGINE_START_SECONDS = 60.0  # assumed where no engine of the model is ready


def estimate(
    tx: Session,
    sums: Mapping[str, ModelSums],
    *,
    named: Mapping[str, ServedModel],
    rates: Mapping[str, Rate],
    tier: Tier,
) -> dict[str, Any]:
    """The fields of a Quote, costs also in dollars: what a batch's `estimate` shows. `rates` are what will be
    charged."""
    loads = {
        name: _load(tx, named[name], of_model, rates[name].prices)
        for name, of_model in sums.items()
        if name in named
    }
    quoted = quote(loads, tier.batch_discount)
    return asdict(quoted) | {
        "expected_cost": quoted.expected_cost_micros / MICROS,
        "worst_cost": quoted.worst_cost_micros / MICROS,
        "currency": CURRENCY,
    }


def _load(tx: Session, model: ServedModel, sums: ModelSums, prices: Prices) -> ModelLoad:
    history = _history(tx, model.id) or _history(tx, model.base)
    ready = bool(engines.ready(tx, [model.base]))
    return ModelLoad(
        lines=sums.lines,
        prompt_tokens=sums.prompt_tokens,
        max_output_tokens=sums.max_output_tokens,
        prices=prices,
        history=history,
        tokens_per_second=_rate(tx, model.id) or _rate(tx, model.base),
        tokens_ahead=_ahead(tx, model.base, history),
        start_seconds=0.0 if ready else ENGINE_START_SECONDS,
    )


def _history(tx: Session, model: str) -> OutputHistory | None:
    latest = (
        select(Usage.lines, Usage.output_tokens)
        .where(Usage.model == model, Usage.lines > 0)  # trainings have none
        .order_by(col(Usage.at).desc())
        .limit(HISTORY_ROWS)
        .subquery()
    )
    lines, tokens = tx.exec(select(func.sum(latest.c.lines), func.sum(latest.c.output_tokens))).one()
    return OutputHistory(int(lines), int(tokens)) if lines else None


def _rate(tx: Session, model: str) -> float | None:
    """Tokens per second, prompt and output together, of the fastest of the latest batches."""
    latest = tx.exec(
        select(Batch)
        .where(Batch.model == model, Batch.status == BatchStatus.COMPLETED)
        .order_by(col(Batch.completed_at).desc())
        .limit(HISTORY_ROWS)
    ).all()
    rates = [_tokens(b.usage, model) / s for b in latest if (s := _seconds(b)) > 0]
    return max(rates, default=None) or None


def _seconds(batch: Batch) -> float:
    if batch.in_progress_at is None or batch.finalizing_at is None:
        return 0.0
    return (batch.finalizing_at - batch.in_progress_at).total_seconds()


def _tokens(usage: Mapping[str, Mapping[str, int]], model: str) -> int:
    used = usage.get(model, {})
    return used.get("input_tokens", 0) + used.get("output_tokens", 0)


def _ahead(tx: Session, base: str, history: OutputHistory | None) -> int:
    """Tokens that running batches still want of the base's engines, by the mean length of earlier lines."""
    lines = tx.exec(select(func.sum(BatchDemand.lines)).where(BatchDemand.base == base)).one()
    if not lines or history is None:
        return 0
    return round(int(lines) * history.output_tokens / history.lines)
