"""The end of a batch: result files, charge and final status in one transaction."""

import hashlib

from sqlmodel import Session

from orchestrator.batches import quote_book, result_files
from orchestrator.batches.ending import end
from orchestrator.batches.holding import work
from orchestrator.batches.model import Batch
from orchestrator.batches.progress import STOP_MESSAGES, BatchLease, Stop
from orchestrator.batches.rates import quoted_rates
from orchestrator.batches.result_files import ResultFile
from orchestrator.batches.sharing import end_demand
from orchestrator.batches.states import BATCH, BatchStatus, BatchTrigger
from orchestrator.jobs import service as jobs
from orchestrator.metering import ledger
from orchestrator.metering.model import UsageKind
from orchestrator.metering.prices import Rate
from orchestrator.spending import holds
from orchestrator.state_machine import transition


def driven(tx: Session, lease: BatchLease) -> bool:
    """Every line has a result: in_progress -> finalizing. False if it was cancelled meanwhile."""
    jobs.hold(tx, job_id=lease.job_id, token=lease.token)
    batch = tx.get_one(Batch, lease.batch_id)
    if batch.status is BatchStatus.FINALIZING:
        return True  # an earlier attempt came this far
    if batch.status is not BatchStatus.IN_PROGRESS:
        return False
    return transition(tx, batch, BATCH, BatchTrigger.DRIVEN, actor="system")


def finish(
    tx: Session,
    lease: BatchLease,
    *,
    stop: Stop | None,
    words: str | None = None,
    output: ResultFile | None,
    error: ResultFile | None,
) -> Batch:
    """Make the result files the batch's own, charge what is in them at the rates that were quoted, and set
    the final status.

    Counts and tokens are those of the adopted segments, which are what was merged. Lines that never ran
    count as failed and are not charged. `words` are the engine's last, or how the spend limit stands, where
    that is why the batch stops. Raises LeaseLost.
    """
    jobs.hold(tx, job_id=lease.job_id, token=lease.token)
    batch = tx.get_one(Batch, lease.batch_id, with_for_update=True)
    batch.output_file_id = result_files.add(tx, batch, output, "output") if output else None
    batch.error_file_id = result_files.add(tx, batch, error, "error") if error else None
    batch.request_completed = output.lines if output else 0
    batch.request_failed = error.lines if error else 0
    batch.cost_micros = sum(_charge(tx, batch, model, rate) for model, rate in quoted_rates(batch).items())
    batch.waiting_for = None
    if stop in _EXPLAINED:
        message = f"{STOP_MESSAGES[stop]} {words}"
        why = {"code": stop.value, "message": message, "line": None, "param": _EXPLAINED[stop]}
        batch.errors = [why, *(batch.errors or [])]
    trigger = _TRIGGERS[stop]
    if stop is Stop.SPEND_LIMIT and batch.status is BatchStatus.CANCELLING:
        trigger = BatchTrigger.MERGED  # its customer asked for that, too
    end(tx, batch, trigger, reason=stop)
    if stop is None:
        quote_book.settle(tx, batch)
    holds.release(tx, work(batch))
    end_demand(tx, batch.id)
    jobs.complete(tx, job_id=lease.job_id, token=lease.token)
    return batch


_TRIGGERS = {
    None: BatchTrigger.MERGED,
    Stop.CANCELLED: BatchTrigger.MERGED,
    Stop.WINDOW_CLOSED: BatchTrigger.WINDOW_CLOSED,
    Stop.ENGINE_FAILED: BatchTrigger.GAVE_UP,
    Stop.SPEND_LIMIT: BatchTrigger.SPEND_LIMIT_REACHED,
}
# What a batch's `errors` tell with the words of whoever stopped it, and the parameter that is meant.
_EXPLAINED = {Stop.ENGINE_FAILED: "body.model", Stop.SPEND_LIMIT: None}


def _charge(tx: Session, batch: Batch, model: str, rate: Rate) -> int:
    """One ledger row for one model; its key, as short for any name, makes a second one impossible."""
    used = batch.usage.get(model)
    if not used:
        return 0
    micros = rate.cost_micros(used)
    ledger.charge(
        tx,
        key=f"{batch.id}:{hashlib.sha256(model.encode()).hexdigest()}",
        kind=UsageKind.BATCH,
        organization_id=batch.organization_id,
        project_id=batch.project_id,
        resource_id=batch.id,
        model=model,
        used=used,
        prices=rate.snapshot(),
        cost_micros=micros,
    )
    return micros
