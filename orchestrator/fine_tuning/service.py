"""What a customer does with fine-tuning jobs: create, look, list, cancel, pause, resume. What runs them is
in `progress.py` and `finalize.py`.

Who changes a job together with its place in the queue locks the queue's rows first, as a lease's holder does.
"""

import secrets
from collections.abc import Mapping

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.database import pages
from orchestrator.database.session import notify
from orchestrator.entitlements.effective import contracted, lowered, priority
from orchestrator.entitlements.tiers import Tiers
from orchestrator.errors import Conflict, NotFound
from orchestrator.files.model import File
from orchestrator.fine_tuning import checkpoints, endings, events
from orchestrator.fine_tuning.admission import SEED_MAX, Admitted, NewFineTuning, admit, check_limits
from orchestrator.fine_tuning.model import FineTuningCheckpoint, FineTuningEvent, FineTuningJob
from orchestrator.fine_tuning.states import FINAL, FINE_TUNING, FineTuningStatus, FineTuningTrigger
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobKind
from orchestrator.metering.price_lists import training_price_now
from orchestrator.models.registry import Registry
from orchestrator.organizations import service as organizations
from orchestrator.organizations.principal import Principal
from orchestrator.spending import caps
from orchestrator.state_machine import transition

_S, _T = FineTuningStatus, FineTuningTrigger


def create(
    tx: Session,
    principal: Principal,
    new: NewFineTuning,
    *,
    tiers: Tiers,
    registry: Registry,
    idempotency_key: str | None = None,
) -> FineTuningJob:
    """Accept a fine-tuning job and queue the reading of its files; nothing runs yet.

    The same idempotency key with the same parameters gives the job of the first call. Raises Invalid,
    NotEntitled, QuotaExceeded, and Conflict where the key was used with other parameters. A dataset with
    bad examples is accepted here and fails when it is validated, as at OpenAI.
    """
    organization = organizations.hold(tx, principal.organization_id)
    earlier = _earlier(tx, principal, new, idempotency_key)
    if earlier is not None:
        return earlier
    caps.require_open(tx, organization_id=organization.id, project_id=principal.project_id)
    tier = contracted(tiers[organization.tier], organization.limits, organization.support_contact)
    admitted = admit(tx, new, organization_id=organization.id, tier=tier, tiers=tiers, registry=registry)
    check_limits(tx, organization_id=organization.id, tier=tier, tiers=tiers)
    if principal.project_limits:
        lower = lowered(tier, principal.project_limits)
        own = principal.project_id
        check_limits(tx, organization_id=organization.id, tier=lower, tiers=tiers, project_id=own)
    price_micros = training_price_now(
        tx,
        registry.prices(),
        organization_id=organization.id,
        model=admitted.spec.id,
        factor=tier.training_price_factor,
    )
    place = priority(tiers, tier, organization.priority)
    return _insert(
        tx,
        principal,
        new,
        admitted,
        tier=tier.name,
        priority=place,
        price_micros=price_micros,
        idempotency_key=idempotency_key,
    )


def get(tx: Session, *, organization_id: str, job_id: str, lock: bool = False) -> FineTuningJob:
    """The job, with its row locked for the rest of the transaction if asked. Raises NotFound."""
    job = tx.get(FineTuningJob, job_id, with_for_update=lock, populate_existing=lock)
    if job is None or job.organization_id != organization_id:
        raise NotFound(f"No fine-tuning job found with id '{job_id}'.", param="id")
    return job


def list_page(
    tx: Session,
    request: pages.PageRequest,
    *,
    organization_id: str,
    metadata: Mapping[str, str] | None = None,
    without_metadata: bool = False,
) -> pages.Page[FineTuningJob]:
    """One page of the organization's jobs, if asked those alone whose metadata has these pairs, or that
    have none. Raises Invalid for an unknown cursor."""
    column = col(FineTuningJob.job_metadata)
    where = []
    if metadata:
        where.append(column.contains(dict(metadata)))
    if without_metadata:
        where.append(or_(column.is_(None), func.jsonb_typeof(column) == "null"))
    return pages.fetch(tx, FineTuningJob, request, organization_id=organization_id, where=where)


def list_events(tx: Session, request: pages.PageRequest, *, job_id: str) -> pages.Page[FineTuningEvent]:
    """One page of the events of a job that is known to be the caller's. Raises Invalid for an unknown
    cursor."""
    return events.list_page(tx, request, job_id=job_id)


def list_checkpoints(
    tx: Session, request: pages.PageRequest, *, job_id: str
) -> pages.Page[FineTuningCheckpoint]:
    """One page of the checkpoints of a job that is known to be the caller's. Raises Invalid for an unknown
    cursor."""
    return checkpoints.list_page(tx, request, job_id=job_id)


def cancel(tx: Session, principal: Principal, job_id: str) -> FineTuningJob:
    """End a job at once, or, while it trains, after the current step. Its last checkpoints stay, and are
    charged. Asking twice is no error. Raises NotFound, and Conflict once it has ended."""
    get(tx, organization_id=principal.organization_id, job_id=job_id)
    return request_cancel(tx, job_id, actor=principal.key_id)


def request_cancel(tx: Session, job_id: str, *, actor: str) -> FineTuningJob:
    """`cancel`, for whoever may. Raises Conflict once the job has ended."""
    job = _held(tx, job_id)
    if job.status in (_S.CANCELLING, _S.CANCELLED):
        return job
    _require_edge(job, _T.CANCEL_REQUESTED, "cancel")
    if job.status in (_S.RUNNING, _S.PAUSING):
        transition(tx, job, FINE_TUNING, _T.CANCEL_REQUESTED, actor=actor)
    else:
        _drop_queued(tx, job)
        endings.cancelled(tx, job, _T.CANCEL_REQUESTED, actor=actor)
    notify(tx, jobs.CHANNEL)
    return job


def pause(tx: Session, principal: Principal, job_id: str) -> FineTuningJob:
    """Stop a job at once, or, while it trains, after the current step, until it is resumed. Asking twice is
    no error. Raises NotFound, and Conflict while its files are validated and once it has ended."""
    get(tx, organization_id=principal.organization_id, job_id=job_id)
    job = _held(tx, job_id)
    if job.status in (_S.PAUSING, _S.PAUSED):
        return job
    _require_edge(job, _T.PAUSE_REQUESTED, "pause")
    trained = job.status is _S.RUNNING
    transition(tx, job, FINE_TUNING, _T.PAUSE_REQUESTED, actor=principal.key_id)
    if not trained:
        _drop_queued(tx, job)
        events.say(tx, job, "The job has been paused")
    notify(tx, jobs.CHANNEL)
    return job


def resume(tx: Session, principal: Principal, job_id: str) -> FineTuningJob:
    """Queue a paused job again; it goes on from its last checkpoint. Asking twice is no error. Raises
    NotFound, and Conflict in every other status."""
    get(tx, organization_id=principal.organization_id, job_id=job_id)
    job = _held(tx, job_id)
    if job.status in (_S.QUEUED, _S.RUNNING):
        return job
    _require_edge(job, _T.RESUMED, "resume")
    transition(tx, job, FINE_TUNING, _T.RESUMED, actor=principal.key_id)
    jobs.reopen(tx, resource_id=job.id, kind=JobKind.FINE_TUNE)
    events.say(tx, job, "The job has been resumed")
    return job


def require_no_reader(tx: Session, file: File) -> None:
    """Raise Conflict while a live job has this file as a dataset. Hold the file's row: `create` does,
    too."""
    reader = tx.exec(
        select(FineTuningJob.id)
        .where(FineTuningJob.organization_id == file.organization_id)
        .where(
            or_(
                col(FineTuningJob.training_file_id) == file.id,
                col(FineTuningJob.validation_file_id) == file.id,
            )
        )
        .where(col(FineTuningJob.status).not_in(FINAL))
        .limit(1)
    ).first()
    if reader is not None:
        raise Conflict(
            f"File {file.id} is a dataset of fine-tuning job {reader}, which has not ended. Cancel that "
            "job or wait for it, then delete the file."
        )


def _held(tx: Session, job_id: str) -> FineTuningJob:
    """The job, and its place in the queue if it has one, locked. The training's is made under a lock on the
    files', so it cannot appear behind our back."""
    for kind in (JobKind.FINE_TUNE_FILES, JobKind.FINE_TUNE):
        jobs.lock(tx, resource_id=job_id, kind=kind)
    return tx.get_one(FineTuningJob, job_id, with_for_update=True, populate_existing=True)


def _require_edge(job: FineTuningJob, trigger: FineTuningTrigger, verb: str) -> None:
    if FINE_TUNING.next(job.status, trigger) is None:
        raise Conflict(f"Cannot {verb} a fine-tuning job with status '{job.status}'.")


def _drop_queued(tx: Session, job: FineTuningJob) -> None:
    """Take the held job out of the queue; who works on it has lost the lease, and stops."""
    for kind in (JobKind.FINE_TUNE_FILES, JobKind.FINE_TUNE):
        queued = jobs.lock(tx, resource_id=job.id, kind=kind)
        if queued is not None:
            jobs.drop(queued)


def _earlier(
    tx: Session, principal: Principal, new: NewFineTuning, idempotency_key: str | None
) -> FineTuningJob | None:
    """The job that an earlier call with this key has made. Raises Conflict for other parameters."""
    if idempotency_key is None:
        return None
    job = tx.exec(
        select(FineTuningJob).where(
            FineTuningJob.project_id == principal.project_id,
            FineTuningJob.idempotency_key == idempotency_key,
        )
    ).first()
    if job is not None and job.idempotency_hash != new.digest():
        raise Conflict(
            f"The idempotency key '{idempotency_key}' was used for fine-tuning job {job.id} with other "
            "parameters. Use a new key for a new job.",
            param="idempotency_key",
        )
    return job


def _insert(
    tx: Session,
    principal: Principal,
    new: NewFineTuning,
    admitted: Admitted,
    *,
    tier: str,
    priority: int,
    price_micros: int,
    idempotency_key: str | None,
) -> FineTuningJob:
    """The rows of a job, its first events, and its place in the queue: among equals, first come, first
    served."""
    now = clock.now()
    job = FineTuningJob(
        id=ids.new("ftjob-"),
        organization_id=principal.organization_id,
        project_id=principal.project_id,
        base_model=admitted.spec.id,
        training_file_id=admitted.training_file.id,
        validation_file_id=admitted.validation_file.id if admitted.validation_file else None,
        method=admitted.method,
        requested=admitted.requested,
        suffix=new.suffix,
        seed=new.seed if new.seed is not None else secrets.randbelow(SEED_MAX + 1),
        tier=tier,
        price_micros=price_micros,
        job_metadata=None if new.metadata is None else dict(new.metadata),
        idempotency_key=idempotency_key,
        idempotency_hash=None if idempotency_key is None else new.digest(),
        gpus=admitted.lora.training_gpus,
        created_at=now,
    )
    tx.add(job)
    tx.flush()
    files = f"training file: {job.training_file_id}"
    if job.validation_file_id is not None:
        files += f" and validation file: {job.validation_file_id}"
    events.say(tx, job, f"Created fine-tuning job: {job.id}")
    events.say(tx, job, f"Validating {files}")
    jobs.enqueue(
        tx,
        kind=JobKind.FINE_TUNE_FILES,
        resource_id=job.id,
        organization_id=job.organization_id,
        priority=priority,
        deadline=now,
    )
    return job
