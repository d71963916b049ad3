"""The run side of a batch: what its driver writes and reads, always under the lease of its attempt.

Every function that writes first calls `jobs.hold`, so a driver that was taken for dead changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches import holding, result_files, sharing, waiting
from orchestrator.batches.ending import end
from orchestrator.batches.model import Batch, BatchSegment
from orchestrator.batches.rates import cost_micros, keep_rates
from orchestrator.batches.result_files import ResultFile
from orchestrator.batches.segments import SegmentInfo
from orchestrator.batches.service import request_cancel
from orchestrator.batches.states import BATCH, FINAL, BatchStatus, BatchTrigger
from orchestrator.jobs import service as jobs
from orchestrator.jobs.retry import FailureReason
from orchestrator.metering.prices import Rate
from orchestrator.spending import holds
from orchestrator.spending.bill import Bill
from orchestrator.state_machine import transition

LEASE_SECONDS = 20


@dataclass(frozen=True)
class BatchLease:
    """The right of one attempt to act for one batch."""

    batch_id: str
    job_id: str
    attempt: int
    token: str


class Stop(StrEnum):
    """Why a batch stops before its last line; the value is the code of the lines that never ran."""

    CANCELLED = "batch_cancelled"
    WINDOW_CLOSED = "batch_expired"
    ENGINE_FAILED = "engine_failed"
    SPEND_LIMIT = "spend_limit_reached"


STOP_MESSAGES = {
    Stop.CANCELLED: "This request was not executed: the batch was cancelled.",
    Stop.WINDOW_CLOSED: ("This request could not be executed before the completion window expired."),
    Stop.ENGINE_FAILED: "This request was not executed: no engine for its model could start.",
    Stop.SPEND_LIMIT: "This request was not executed: a spend limit was reached. `retry` runs it once the "
    "limit is raised.",
}


GONE = "The yard does not have this model any more."


@dataclass(frozen=True)
class Situation:
    """What a heartbeat reads back. `refused` are the models that no engine will serve, with the reason."""

    stop: Stop | None
    shares: Mapping[str, Sequence[sharing.Share]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    waiting_for: str | None = None
    words: str | None = None  # what the engine said last, or how the spend limit stands
    granted: int | None = None  # micro-dollars that the batch may cost in all; None: no limit


def begin(tx: Session, *, job_id: str, attempt: int, flow_run_id: str) -> BatchLease | None:
    """Take the lease of this attempt, or None if the attempt is not the current one any more."""
    token = jobs.start(
        tx,
        job_id=job_id,
        attempt=attempt,
        lease_seconds=LEASE_SECONDS,
        flow_run_id=flow_run_id,
    )
    if token is None:
        return None
    job = jobs.get(tx, job_id)
    batch = tx.get_one(Batch, job.resource_id)
    batch.flow_run_id = flow_run_id
    return BatchLease(batch.id, job_id, attempt, token)


def stop_for(batch: Batch) -> Stop | None:
    """Whether the batch must stop now, and why."""
    if batch.status is BatchStatus.CANCELLING:
        return Stop.CANCELLED
    if batch.status in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS):
        return Stop.WINDOW_CLOSED if clock.now() >= batch.expires_at else None
    return None


def validated(
    tx: Session,
    lease: BatchLease,
    *,
    total: int,
    model: str | None,
    errors: list[dict[str, Any]] | None,
    estimate: dict[str, Any],
    rates: Mapping[str, Rate],
    report: ResultFile | None,
) -> bool:
    """The batch may run, at the rates that it was quoted: validating -> in_progress. False if it was
    cancelled meanwhile."""
    batch = _held(tx, lease)
    batch.request_total = total
    batch.model = model
    batch.errors = errors
    batch.estimate = estimate
    keep_rates(batch, rates)
    if report:
        batch.report_file_id = result_files.add(tx, batch, report, "report")
    if batch.status is not BatchStatus.VALIDATING:
        return False
    holds.settle(tx, holding.work(batch), Bill(wanted=estimate["expected_cost_micros"]))
    return transition(tx, batch, BATCH, BatchTrigger.VALIDATED, actor="system")


def rejected(
    tx: Session, lease: BatchLease, *, errors: list[dict[str, Any]], report: ResultFile | None
) -> None:
    """The file is refused: validating -> failed, or cancelled if that was asked meanwhile."""
    batch = _held(tx, lease)
    batch.errors = errors
    if report:
        batch.report_file_id = result_files.add(tx, batch, report, "report")
    cancelling = batch.status is BatchStatus.CANCELLING
    trigger = BatchTrigger.MERGED if cancelling else BatchTrigger.REJECTED
    end(tx, batch, trigger, reason=errors[0]["code"])
    batch.waiting_for = None
    jobs.complete(tx, job_id=lease.job_id, token=lease.token)


def adopt(tx: Session, lease: BatchLease, segment: SegmentInfo) -> Batch:
    """Make a stored segment part of the batch: its row, the counts and the tokens, or none of them.

    Doing it again changes nothing: the answer to a commit may have been lost. An attempt that gets somewhere
    clears the job's record: only failures in a row use attempts up.
    """
    jobs.hold(tx, job_id=lease.job_id, token=lease.token).failures = 0
    batch = tx.get_one(Batch, lease.batch_id, with_for_update=True)
    if tx.get(BatchSegment, (lease.batch_id, lease.attempt, segment.sequence)) is not None:
        return batch
    tx.add(
        BatchSegment(
            batch_id=lease.batch_id,
            attempt=lease.attempt,
            sequence=segment.sequence,
            key=segment.key,
            bytes=segment.bytes,
            completed=segment.completed,
            failed=segment.failed,
            usage=dict(segment.usage),
            adopted_at=clock.now(),
        )
    )
    batch.request_completed += segment.completed
    batch.request_failed += segment.failed
    batch.usage = add_usage(batch.usage, segment.usage)
    batch.cost_micros = cost_micros(batch)
    return batch


def cancel(tx: Session, lease: BatchLease, *, actor: str) -> None:
    """Ask the batch to stop, where it still can: once it is being merged, it ends as it would."""
    request_cancel(tx, _held(tx, lease), actor=actor)


def failed(tx: Session, lease: BatchLease, reason: FailureReason) -> bool:
    """This attempt broke. True if another will be made; otherwise the batch has failed. Raises LeaseLost."""
    _held(tx, lease)
    again = jobs.fail(tx, job_id=lease.job_id, token=lease.token, reason=reason)
    if not again:
        give_up(tx, lease.batch_id, reason=reason)
    return again


def give_up(tx: Session, batch_id: str, *, reason: FailureReason | None) -> None:
    """No attempt is left: the batch has failed by our fault. What its segments hold stays readable."""
    batch = tx.get_one(Batch, batch_id, with_for_update=True)
    if batch.status in FINAL:
        return
    why = f": {reason}" if reason else ""
    batch.errors = [
        {
            "code": "server_error",
            "message": f"The yard could not finish this batch and has given up{why}. Nothing of it "
            "is charged. Results so far stay readable for some days; `retry` starts it again.",
            "line": None,
            "param": None,
        }
    ]
    batch.waiting_for = None
    batch.cost_micros = 0
    end(tx, batch, BatchTrigger.GAVE_UP, reason=reason)
    holds.release(tx, holding.work(batch))
    sharing.end_demand(tx, batch_id)


def add_usage(
    total: Mapping[str, Mapping[str, int]], more: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """The sum of two usages, model by model and count by count."""
    return {
        model: {
            name: total.get(model, {}).get(name, 0) + more.get(model, {}).get(name, 0)
            for name in {**total.get(model, {}), **more.get(model, {})}
        }
        for model in {**total, **more}
    }


def segments(tx: Session, batch_id: str) -> list[BatchSegment]:
    """Adopted segments in the order in which they were adopted."""
    return list(
        tx.exec(
            select(BatchSegment)
            .where(BatchSegment.batch_id == batch_id)
            .order_by(col(BatchSegment.attempt), col(BatchSegment.sequence))
        )
    )


def beat(tx: Session, lease: BatchLease) -> Stop | None:
    """A heartbeat of a driver that sends no lines now: renew the lease, read whether to stop."""
    jobs.heartbeat(tx, job_id=lease.job_id, token=lease.token, lease_seconds=LEASE_SECONDS)
    return stop_for(tx.get_one(Batch, lease.batch_id))


def heartbeat(
    tx: Session,
    lease: BatchLease,
    *,
    remaining: Mapping[str, int],
    named: Mapping[str, ServedModel],
    weight: float,
    rate: dict[str, float] | None,
    bill: Bill | None = None,
) -> Situation:
    """Renew the lease, say how many lines remain per model and what they cost, and read what may be in flight
    now; the batch is as urgent as its job. A model that is not in `named` is gone from the yard since the
    batch was validated."""
    job = jobs.heartbeat(tx, job_id=lease.job_id, token=lease.token, lease_seconds=LEASE_SECONDS)
    batch = tx.get_one(Batch, lease.batch_id, with_for_update=True)
    gone = {model: GONE for model, lines in remaining.items() if lines > 0 and model not in named}
    known = {model: lines for model, lines in remaining.items() if model in named}
    sharing.demand(tx, batch, known, named, weight=weight, priority=job.priority)
    wanted = [named[model] for model, lines in known.items() if lines > 0]
    bases = {model.base for model in wanted}
    now = sharing.serving(tx, bases)
    refused = {model.id: why for model in wanted if (why := now.refusal(model)) is not None}
    shares = sharing.shares(tx, batch.id, now)
    words = waiting.given_up(tx, sorted(bases - {engine.model for engine in now.engines}))
    waiting_models = [model for model in wanted if model.id not in refused]
    waits = [waiting.waiting_for(tx, waiting_models, now, served=shares)]
    allowance = holds.settle(tx, holding.work(batch), bill) if bill else holds.UNLIMITED  # last: it locks
    stop = Stop.ENGINE_FAILED if words else stop_for(batch)
    if allowance.short is not None:
        waits.append(waiting.for_money(allowance.short))
        if allowance.final and stop is None:
            stop, words = Stop.SPEND_LIMIT, allowance.short.words()
            allowance.short.limit.reached_at = clock.now()
    situation = Situation(
        stop=stop,
        shares=shares,
        refused=gone | refused,
        waiting_for="; ".join(filter(None, waits)) or None,
        words=words,
        granted=allowance.granted,
    )
    batch.rate = rate
    batch.waiting_for = situation.waiting_for
    return situation


def _held(tx: Session, lease: BatchLease) -> Batch:
    """The batch, locked, once the lease is known to be ours. Raises LeaseLost."""
    jobs.hold(tx, job_id=lease.job_id, token=lease.token)
    return tx.get_one(Batch, lease.batch_id, with_for_update=True)
