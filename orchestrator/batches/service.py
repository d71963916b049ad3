"""What a customer does with batches: create, look, list, cancel, retry. What runs them is in
`progress.py` and `finalize.py`."""

from collections.abc import Sequence
from datetime import timedelta

from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.batches.admission import NewBatch, Rules, check_limits, check_parameters
from orchestrator.batches.model import Batch
from orchestrator.batches.standing import summary_of
from orchestrator.batches.states import BATCH, CANCELLABLE, FINAL, BatchStatus, BatchTrigger
from orchestrator.database import pages
from orchestrator.database.session import notify
from orchestrator.entitlements import checks
from orchestrator.entitlements.tiers import Tiers
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.files import service as files
from orchestrator.files.model import File, Purpose
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobKind
from orchestrator.models.registry import Registry
from orchestrator.organizations import service as organizations
from orchestrator.organizations.principal import Principal
from orchestrator.spending import caps
from orchestrator.state_machine import transition

IDS_MAX = 200  # batches asked for by id in one list request, as at Groq


def create(
    tx: Session,
    principal: Principal,
    new: NewBatch,
    *,
    tiers: Tiers,
    registry: Registry,
    idempotency_key: str | None = None,
) -> Batch:
    """Accept a batch and queue its job; nothing runs yet.

    The same idempotency key with the same parameters gives the batch of the first call. Raises
    Invalid, NotEntitled, QuotaExceeded, and Conflict where the key was used with other parameters.
    A file with bad lines is accepted here and fails when it is validated, as at OpenAI.
    """
    organization = organizations.hold(tx, principal.organization_id)
    earlier = _earlier(tx, principal, new, idempotency_key)
    if earlier is not None:
        return earlier
    caps.require_open(tx, organization_id=organization.id, project_id=principal.project_id)
    rules = Rules.of(organization, principal, tiers=tiers, registry=registry)
    check_parameters(new, rules)
    file = _input_file(tx, principal, new)
    check_limits(tx, file, lines=summary_of(file).lines, rules=rules)
    return _insert(tx, principal, new, rules, idempotency_key=idempotency_key, lines=0)


def retry(
    tx: Session,
    principal: Principal,
    batch_id: str,
    *,
    tiers: Tiers,
    registry: Registry,
    idempotency_key: str | None = None,
) -> Batch:
    """A new batch of the lines of an ended one that failed or never ran, with the same parameters.

    Raises as `create` does, Conflict while the old batch still runs, and Invalid where it has no
    such lines or its file is gone.
    """
    organization = organizations.hold(tx, principal.organization_id)
    old = get(tx, organization_id=principal.organization_id, batch_id=batch_id)
    new = NewBatch(
        input_file_id=old.input_file_id,
        endpoint=old.endpoint,
        completion_window=old.completion_window,
        metadata=old.batch_metadata,
        output_expires_after_seconds=old.output_expires_after_seconds,
        on_invalid_line=old.on_invalid_line,
        retry_of=old.id,
    )
    earlier = _earlier(tx, principal, new, idempotency_key)
    if earlier is not None:
        return earlier
    lines = _unfinished_lines(old)
    caps.require_open(tx, organization_id=organization.id, project_id=principal.project_id)
    rules = Rules.of(organization, principal, tiers=tiers, registry=registry)
    check_parameters(new, rules)
    check_limits(tx, _input_file(tx, principal, new), lines=lines, rules=rules)
    return _insert(tx, principal, new, rules, idempotency_key=idempotency_key, lines=lines)


def get(tx: Session, *, organization_id: str, batch_id: str, lock: bool = False) -> Batch:
    """The batch, with its row locked for the rest of the transaction if asked. Raises NotFound."""
    batch = tx.get(Batch, batch_id, with_for_update=lock)
    if batch is None or batch.organization_id != organization_id:
        raise NotFound(f"No batch found with id '{batch_id}'.", param="id")
    return batch


def list_page(tx: Session, request: pages.PageRequest, *, organization_id: str) -> pages.Page[Batch]:
    """One page of the organization's batches. Raises Invalid for an unknown cursor."""
    return pages.fetch(tx, Batch, request, organization_id=organization_id)


def get_many(tx: Session, batch_ids: Sequence[str], *, organization_id: str) -> list[Batch]:
    """Those of the named batches that the organization has, newest first. Raises Invalid for more
    than IDS_MAX names."""
    if len(batch_ids) > IDS_MAX:
        raise Invalid(f"At most {IDS_MAX} ids at a time, found {len(batch_ids)}.", param="id")
    rows = tx.exec(
        select(Batch)
        .where(col(Batch.id).in_(batch_ids), Batch.organization_id == organization_id)
        .order_by(col(Batch.created_at).desc(), col(Batch.id).desc())
    )
    return list(rows)


def cancel(tx: Session, principal: Principal, batch_id: str) -> Batch:
    """Ask a batch to stop; what is done is kept. Asking twice is no error. Raises Conflict once it
    is too late."""
    batch = get(tx, organization_id=principal.organization_id, batch_id=batch_id, lock=True)
    if batch.status in (BatchStatus.CANCELLING, BatchStatus.CANCELLED):
        return batch
    if not request_cancel(tx, batch, actor=principal.key_id):
        raise Conflict(f"Cannot cancel a batch with status '{batch.status}'.")
    notify(tx, "jobs")
    return batch


def request_cancel(tx: Session, batch: Batch, *, actor: str) -> bool:
    """Ask the batch to stop; False where it is too late, or was asked before."""
    if batch.status not in CANCELLABLE:
        return False
    return transition(tx, batch, BATCH, BatchTrigger.CANCEL_REQUESTED, actor=actor)


def require_no_reader(tx: Session, file: File) -> None:
    """Raise Conflict while a live batch reads this file. Hold the file's row: `create` does,
    too."""
    reader = tx.exec(
        select(Batch.id)
        .where(Batch.organization_id == file.organization_id, Batch.input_file_id == file.id)
        .where(col(Batch.status).not_in(FINAL))
        .limit(1)
    ).first()
    if reader is not None:
        raise Conflict(
            f"File {file.id} is the input of batch {reader}, which has not ended. Cancel that "
            "batch or wait for it, then delete the file."
        )


def _earlier(tx: Session, principal: Principal, new: NewBatch, idempotency_key: str | None) -> Batch | None:
    """The batch that an earlier call with this key has made. Raises Conflict for other
    parameters."""
    if idempotency_key is None:
        return None
    batch = tx.exec(
        select(Batch).where(
            Batch.project_id == principal.project_id, Batch.idempotency_key == idempotency_key
        )
    ).first()
    if batch is not None and batch.idempotency_hash != new.digest():
        raise Conflict(
            f"The idempotency key '{idempotency_key}' was used for batch {batch.id} with other "
            "parameters. Use a new key for a new batch.",
            param="idempotency_key",
        )
    return batch


def _input_file(tx: Session, principal: Principal, new: NewBatch) -> File:
    """The input file, locked against deletion until the batch is there."""
    try:
        file = files.get(tx, organization_id=principal.organization_id, file_id=new.input_file_id, lock=True)
    except NotFound:
        known = f"Batch {new.retry_of} cannot be retried: its " if new.retry_of else "The "
        raise Invalid(
            f"{known}input file {new.input_file_id} does not exist, was deleted or has expired, or "
            "your organization does not have access to it.",
            param="input_file_id",
        ) from None
    if file.purpose is not Purpose.BATCH:
        raise Invalid(
            f"File {file.id} has purpose '{file.purpose}'; a batch needs one with purpose 'batch'.",
            param="input_file_id",
        )
    return file


def _unfinished_lines(old: Batch) -> int:
    """How many lines of an ended batch have no successful result in an output file."""
    if old.status not in FINAL:
        raise Conflict(f"Cannot retry a batch with status '{old.status}': it has not ended.")
    lines = old.request_total - (old.request_completed if old.output_file_id else 0)
    if lines <= 0:
        refused = "every line succeeded." if old.request_total else "its file was refused as a whole."
        raise Invalid(f"Batch {old.id} has no lines to retry: {refused}")
    return lines


def _insert(
    tx: Session,
    principal: Principal,
    new: NewBatch,
    rules: Rules,
    *,
    idempotency_key: str | None,
    lines: int,
) -> Batch:
    """The rows of a batch and its job. `lines` is 0 until the file is validated, or those to
    retry."""
    hours = checks.window_hours(new.completion_window)
    assert hours is not None, "checked by checks.completion_window"
    now = clock.now()
    batch = Batch(
        id=ids.new("batch_"),
        organization_id=principal.organization_id,
        project_id=principal.project_id,
        endpoint=new.endpoint,
        completion_window=new.completion_window,
        input_file_id=new.input_file_id,
        on_invalid_line=new.on_invalid_line,
        retry_of=new.retry_of,
        tier=rules.tier.name,
        batch_metadata=None if new.metadata is None else dict(new.metadata),
        output_expires_after_seconds=new.output_expires_after_seconds,
        idempotency_key=idempotency_key,
        idempotency_hash=None if idempotency_key is None else new.digest(),
        request_total=lines,
        created_at=now,
        expires_at=now + timedelta(hours=hours),
    )
    tx.add(batch)
    tx.flush()
    jobs.enqueue(
        tx,
        kind=JobKind.BATCH,
        resource_id=batch.id,
        organization_id=batch.organization_id,
        priority=rules.priority,
        deadline=batch.expires_at,
    )
    return batch
