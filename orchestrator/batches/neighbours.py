"""Which batches share engines with a batch: with a new one, for its quote, and with one that has ended, for
what the next quotes learn from it."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import or_
from sqlmodel import Session, col, select

from orchestrator import clock, fairness
from orchestrator.adapters.names import base_of
from orchestrator.batches.model import Batch
from orchestrator.batches.standing import BYTES_PER_TOKEN
from orchestrator.batches.states import BatchStatus
from orchestrator.entitlements.tiers import Tiers
from orchestrator.files.model import File
from orchestrator.metering.quotes import Neighbour

NEIGHBOURS_MAX = 1_000  # looked at
_ASKING = ""  # among batches' ids
_TO_RUN = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)


def now_beside(
    tx: Session,
    base: str,
    own: fairness.Demand,
    *,
    but: str | None,
    places: int,
    reserved: Mapping[str, int] = fairness.NOTHING_RESERVED,
    answer_tokens: float,
    tiers: Tiers,
) -> list[Neighbour]:
    """What live batches, whoever's, still want of the base's engines, which have so many `places` for lines,
    of them some `reserved` by organization; `own` is what the batch that asks wants of them, and `but` its
    id. Lines that are not validated yet are taken to be answered with `answer_tokens` each."""
    rows = tx.exec(
        select(Batch, File)
        .join(File, col(File.id) == col(Batch.input_file_id))
        .where(col(Batch.status).in_(_TO_RUN), col(Batch.id) != (but or ""))
        .limit(NEIGHBOURS_MAX)
    )
    wanted: dict[str, int] = {}
    demands = {_ASKING: own}
    for batch, file in rows:
        lines, tokens = _left(batch, file, base, answer_tokens)
        if lines > 0 and batch.tier in tiers:
            wanted[batch.id] = tokens
            demands[batch.id] = fairness.Demand(lines, tiers[batch.tier].weight, owner=batch.organization_id)
    shares = fairness.shares(places, demands, reserved=reserved)
    ours = max(1, shares[_ASKING])
    return [Neighbour(tokens, shares[batch_id] / ours) for batch_id, tokens in wanted.items()]


def ran_beside(tx: Session, batch: Batch, *, began: datetime) -> int:
    """Tokens that other batches have had, while this one ran from `began`, of the engines of its models; of
    each its part of the time that it ran beside this one."""
    ended = batch.finalizing_at
    assert ended is not None
    bases = {base_of(model) for model in batch.usage}
    others = tx.exec(
        select(Batch)
        .where(
            or_(col(Batch.finalizing_at) > began, col(Batch.status) == BatchStatus.IN_PROGRESS),
            col(Batch.in_progress_at) < ended,
            col(Batch.id) != batch.id,
        )
        .limit(NEIGHBOURS_MAX)
    )
    return round(sum(_had(other, bases, began, ended) for other in others))


def _left(batch: Batch, file: File, base: str, answer_tokens: float) -> tuple[int, int]:
    """Its lines without a result, for models over this base, and their prompt and answer tokens."""
    summary = file.summary or {}
    lines, part = summary.get("lines") or 0, _part_of(summary.get("models") or {}, base)
    if not lines or not part:
        return 0, 0
    total = batch.request_total or lines
    if batch.estimate is None:
        tokens = total * (file.bytes / BYTES_PER_TOKEN / lines + answer_tokens)
    else:
        tokens = batch.estimate["prompt_tokens"] + batch.estimate["expected_output_tokens"]
    left = part * max(0.0, 1 - (batch.request_completed + batch.request_failed) / total)
    return round(total * left), round(tokens * left)


def _part_of(lines_by_model: Mapping[str, int], base: str) -> float:
    ours = sum(lines for model, lines in lines_by_model.items() if base_of(model) == base)
    return ours / max(1, sum(lines_by_model.values()))


def _had(other: Batch, bases: Iterable[str], began: datetime, ended: datetime) -> float:
    if other.in_progress_at is None:
        return 0.0
    until = other.finalizing_at or clock.now()
    ran = (until - other.in_progress_at).total_seconds()
    beside = (min(until, ended) - max(other.in_progress_at, began)).total_seconds()
    if ran <= 0 or beside <= 0:
        return 0.0
    tokens = sum(
        used["input_tokens"] + used["output_tokens"]
        for model, used in other.usage.items()
        if base_of(model) in bases
    )
    return tokens * beside / ran
