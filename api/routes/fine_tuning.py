"""Fine-tuning jobs: create, look, list, cancel, pause, resume, and read what they say and leave."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from sqlmodel import Session

from api.auth import Caller
from api.deps import Read, Transaction, YardDep
from api.pagination import CheckpointsPage, EventsPage, FineTuningPage
from api.schemas.fine_tuning import CheckpointObject, EventObject, FineTuningJobObject
from api.schemas.new_fine_tuning import NewFineTuningJob
from api.schemas.wire import ListOf
from api.yard import Yard
from orchestrator import metadata
from orchestrator.errors import Invalid
from orchestrator.fine_tuning import service as fine_tuning
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.places import position

router = APIRouter(tags=["Fine-tuning"])

IdempotencyKey = Annotated[
    str | None,
    Header(max_length=256, description="The same key never makes a second job."),
]


async def metadata_filter(request: Request) -> dict[str, str] | None:
    """`?metadata[k]=v` for each pair that a job must have; None for `?metadata=null`: jobs without any."""
    pairs: dict[str, str] = {}
    without = False
    for name, value in request.query_params.multi_items():
        if name.startswith("metadata[") and name.endswith("]"):
            pairs[name.removeprefix("metadata[").removesuffix("]")] = value
        elif name == "metadata":
            if value != "null":
                raise Invalid(
                    "Invalid value for 'metadata': expected metadata[key]=value, once for each pair, or "
                    "metadata=null for jobs without any.",
                    param="metadata",
                )
            without = True
    if without and pairs:
        raise Invalid("'metadata=null' and 'metadata[key]=value' exclude each other.", param="metadata")
    metadata.check(pairs)
    return None if without else pairs


Metadata = Annotated[dict[str, str] | None, Depends(metadata_filter)]


@router.post("/fine_tuning/jobs")
def create_fine_tuning_job(
    body: NewFineTuningJob,
    tx: Transaction,
    yard: YardDep,
    caller: Caller,
    idempotency_key: IdempotencyKey = None,
) -> FineTuningJobObject:
    """Train a LoRA adapter for a base model on an uploaded file. Checked here: the parameters, the files'
    purposes and what your tier allows. Every example is checked after this has answered, and a file with a
    bad one fails then; ask for an estimate to know before."""
    job = fine_tuning.create(
        tx,
        caller,
        body.asked(),
        tiers=yard.tiers,
        registry=yard.registry,
        idempotency_key=idempotency_key,
    )
    return _shown(tx, job, yard)


@router.get("/fine_tuning/jobs")
def list_fine_tuning_jobs(
    tx: Read, yard: YardDep, caller: Caller, page: FineTuningPage, wanted: Metadata
) -> ListOf[FineTuningJobObject]:
    """The organization's jobs, newest first: all, those with `metadata[k]=v`, or with `metadata=null`."""
    found = fine_tuning.list_page(
        tx,
        page,
        organization_id=caller.organization_id,
        metadata=wanted,
        without_metadata=wanted is None,
    )
    return ListOf.of([_shown(tx, job, yard) for job in found.rows], has_more=found.has_more)


@router.get("/fine_tuning/jobs/{job_id}")
def retrieve_fine_tuning_job(job_id: str, tx: Read, yard: YardDep, caller: Caller) -> FineTuningJobObject:
    """One job, as it is now: `tokenyard.progress` grows while it runs."""
    job = fine_tuning.get(tx, organization_id=caller.organization_id, job_id=job_id)
    return _shown(tx, job, yard)


@router.post("/fine_tuning/jobs/{job_id}/cancel")
def cancel_fine_tuning_job(
    job_id: str, tx: Transaction, yard: YardDep, caller: Caller
) -> FineTuningJobObject:
    """End a job, for good. Its last checkpoints stay usable as models, and are what is charged."""
    return _shown(tx, fine_tuning.cancel(tx, caller, job_id), yard)


@router.post("/fine_tuning/jobs/{job_id}/pause")
def pause_fine_tuning_job(job_id: str, tx: Transaction, yard: YardDep, caller: Caller) -> FineTuningJobObject:
    """Stop a job after its current step, until it is resumed. It gives its GPUs back."""
    return _shown(tx, fine_tuning.pause(tx, caller, job_id), yard)


@router.post("/fine_tuning/jobs/{job_id}/resume")
def resume_fine_tuning_job(
    job_id: str, tx: Transaction, yard: YardDep, caller: Caller
) -> FineTuningJobObject:
    """Queue a paused job again. It goes on where it stopped, as if it never had."""
    return _shown(tx, fine_tuning.resume(tx, caller, job_id), yard)


@router.get("/fine_tuning/jobs/{job_id}/events")
def list_fine_tuning_events(job_id: str, tx: Read, caller: Caller, page: EventsPage) -> ListOf[EventObject]:
    """What the job has said, newest first: messages, and the metrics of every step. `order=asc` with `after`
    reads on from the last event seen."""
    fine_tuning.get(tx, organization_id=caller.organization_id, job_id=job_id)
    found = fine_tuning.list_events(tx, page, job_id=job_id)
    return ListOf.of([EventObject.of(event) for event in found.rows], has_more=found.has_more)


@router.get("/fine_tuning/jobs/{job_id}/checkpoints")
def list_fine_tuning_checkpoints(
    job_id: str, tx: Read, caller: Caller, page: CheckpointsPage
) -> ListOf[CheckpointObject]:
    """The last three checkpoints of the job, newest first. Each is a model that requests may name."""
    fine_tuning.get(tx, organization_id=caller.organization_id, job_id=job_id)
    found = fine_tuning.list_checkpoints(tx, page, job_id=job_id)
    return ListOf.of([CheckpointObject.of(row) for row in found.rows], has_more=found.has_more)


def _shown(tx: Session, job: FineTuningJob, yard: Yard) -> FineTuningJobObject:
    place = position(tx, job, gpus=yard.settings.gpu_slots())
    return FineTuningJobObject.of(job, place=place, prefect_ui_url=yard.settings.prefect_ui_url())
