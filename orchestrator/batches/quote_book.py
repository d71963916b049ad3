"""Quotes that were given, kept, and compared with what came of them; the next ones learn from these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.adapters.model import Adapter
from orchestrator.batches.model import Batch
from orchestrator.batches.neighbours import ran_beside
from orchestrator.database import pages
from orchestrator.engines.model import Engine
from orchestrator.files.model import File
from orchestrator.metering.model import QuoteRecord
from orchestrator.metering.pace import Done

QUOTES_LEARNT_FROM = 50
SUMMED_MAX = 1_000  # the latest, in what says how far off quotes are


def keep(
    tx: Session,
    quoted: Mapping[str, Any],
    *,
    file: File,
    project_id: str,
    model: str | None,
    batch_id: str | None = None,
) -> QuoteRecord:
    """Keep a quote as the customer saw it. `model` is None for a file of several; a batch has one quote."""
    if batch_id is not None:
        kept = tx.exec(select(QuoteRecord).where(QuoteRecord.batch_id == batch_id)).first()
        if kept is not None:
            return kept
    record = QuoteRecord(
        id=ids.new("quote_"),
        organization_id=file.organization_id,
        project_id=project_id,
        file_id=file.id,
        batch_id=batch_id,
        model=model,
        quoted=dict(quoted),
        created_at=clock.now(),
    )
    tx.add(record)
    return record


def settle(tx: Session, batch: Batch) -> None:
    """Write what came of a batch's quote, once every line has been answered; one that was stopped or that
    an engine failed says nothing of quotes."""
    record = tx.exec(select(QuoteRecord).where(QuoteRecord.batch_id == batch.id)).first()
    if record is None or batch.finalizing_at is None or batch.in_progress_at is None:
        return
    waited = _waited(tx, batch)
    record.actual_cost_micros = batch.cost_micros
    record.actual_output_tokens = sum(used["output_tokens"] for used in batch.usage.values())
    record.actual_start_seconds = waited
    record.actual_finish_seconds = (batch.finalizing_at - record.created_at).total_seconds()
    record.beside_tokens = ran_beside(tx, batch, began=batch.in_progress_at + timedelta(seconds=waited))
    record.settled_at = clock.now()


def done(tx: Session, model: str) -> list[Done]:
    """The latest batches of one model whose quotes are settled."""
    latest = tx.exec(
        select(QuoteRecord)
        .where(QuoteRecord.model == model, col(QuoteRecord.settled_at).is_not(None))
        .order_by(col(QuoteRecord.settled_at).desc())
        .limit(QUOTES_LEARNT_FROM)
    )
    return [
        Done(
            record.quoted["prompt_tokens"] + (record.actual_output_tokens or 0) + record.beside_tokens,
            (record.actual_finish_seconds or 0.0) - (record.actual_start_seconds or 0.0),
        )
        for record in latest
    ]


def list_page(tx: Session, request: pages.PageRequest, *, organization_id: str) -> pages.Page[QuoteRecord]:
    """One page of the organization's quotes. Raises Invalid for an unknown cursor."""
    return pages.fetch(tx, QuoteRecord, request, organization_id=organization_id)


def settled(tx: Session, *, organization_id: str) -> Sequence[QuoteRecord]:
    """The organization's latest quotes that came true or not."""
    return tx.exec(
        select(QuoteRecord)
        .where(QuoteRecord.organization_id == organization_id, col(QuoteRecord.settled_at).is_not(None))
        .order_by(col(QuoteRecord.created_at).desc(), col(QuoteRecord.id).desc())
        .limit(SUMMED_MAX)
    ).all()


def _waited(tx: Session, batch: Batch) -> float:
    """Seconds from validation until the batch's lines went to an engine: none where one was ready. Those of
    an adapter are its base's; of several models the first counts."""
    assert batch.in_progress_at is not None
    names = list(batch.usage)
    bases = select(Adapter.base_model).where(col(Adapter.id).in_(names))
    ready = tx.exec(
        select(func.min(Engine.ready_at)).where(
            or_(col(Engine.model).in_(names), col(Engine.model).in_(bases)),
            col(Engine.ready_at) <= batch.finalizing_at,
            or_(col(Engine.draining_at).is_(None), col(Engine.draining_at) > batch.in_progress_at),
            or_(col(Engine.failed_at).is_(None), col(Engine.failed_at) > batch.in_progress_at),
        )
    ).one()
    return max(0.0, (ready - batch.in_progress_at).total_seconds()) if ready is not None else 0.0


@dataclass(frozen=True)
class Offness:
    """By how much quotes were off, as a share of what came: the median and the 90th percentile, and how many
    quotes that says. None where there are none."""

    quotes: int
    cost_median: float | None
    cost_p90: float | None
    finish_median: float | None
    finish_p90: float | None


def off(record: QuoteRecord) -> tuple[float | None, float | None]:
    """How far the expected cost and the finish (p50) were from what came, as shares of that. None where it
    was not quoted, or nothing came."""
    return (
        _share(record.quoted.get("expected_cost_micros"), record.actual_cost_micros),
        _share(record.quoted.get("finish_p50_seconds"), record.actual_finish_seconds),
    )


def offness(records: Sequence[QuoteRecord]) -> Offness:
    """Over settled quotes."""
    pairs = [off(record) for record in records]
    costs = sorted(cost for cost, _ in pairs if cost is not None)
    finishes = sorted(finish for _, finish in pairs if finish is not None)
    return Offness(len(records), *_quantiles(costs), *_quantiles(finishes))


def _share(quoted: float | None, came: float | None) -> float | None:
    return None if quoted is None or not came else abs(quoted - came) / came


def _quantiles(values: Sequence[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    return median(values), values[min(len(values) - 1, int(len(values) * 0.9))]
