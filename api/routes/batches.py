"""Batches: create, look, list, cancel, retry, and read results while they come."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from api.auth import Caller
from api.deps import Read, Transaction, YardDep
from api.pagination import BatchesPage
from api.schemas.batches import BatchObject, CreateBatch
from api.schemas.wire import ListOf, seconds_of
from api.yard import Yard
from orchestrator.batches import live_output
from orchestrator.batches import service as batches
from orchestrator.batches.admission import NewBatch
from orchestrator.batches.live_output import LiveOutput
from orchestrator.batches.model import Batch, OnInvalidLine

router = APIRouter(tags=["Batches"])

IdempotencyKey = Annotated[
    str | None,
    Header(max_length=256, description="The same key never makes a second batch."),
]


@router.post("/batches")
def create_batch(
    body: CreateBatch,
    tx: Transaction,
    yard: YardDep,
    caller: Caller,
    idempotency_key: IdempotencyKey = None,
) -> BatchObject:
    """Run every line of an uploaded file within a window. Checked here: the parameters, the file
    and what your tier allows. Each line is checked after this has answered; a file with a bad line
    fails then, unless `tokenyard.on_invalid_line` is `skip`."""
    batch = batches.create(
        tx,
        caller,
        NewBatch(
            input_file_id=body.input_file_id,
            endpoint=body.endpoint,
            completion_window=body.completion_window,
            metadata=body.metadata,
            output_expires_after_seconds=seconds_of(body.output_expires_after),
            on_invalid_line=OnInvalidLine(body.tokenyard.on_invalid_line),
        ),
        tiers=yard.tiers,
        registry=yard.registry,
        idempotency_key=idempotency_key or body.idempotency_key,
    )
    return _shown(batch, yard)


@router.get("/batches")
def list_batches(
    tx: Read,
    yard: YardDep,
    caller: Caller,
    page: BatchesPage,
    id: Annotated[list[str] | None, Query(description="Only these batches; up to 200.")] = None,
) -> ListOf[BatchObject]:
    """The organization's batches, newest first."""
    if id:
        named = batches.get_many(tx, id, organization_id=caller.organization_id)
        return ListOf.of([_shown(batch, yard) for batch in named], has_more=False)
    found = batches.list_page(tx, page, organization_id=caller.organization_id)
    return ListOf.of([_shown(batch, yard) for batch in found.rows], has_more=found.has_more)


@router.get("/batches/{batch_id}")
def retrieve_batch(batch_id: str, tx: Read, yard: YardDep, caller: Caller) -> BatchObject:
    """One batch, as it is now: `progress` grows while it runs."""
    batch = batches.get(tx, organization_id=caller.organization_id, batch_id=batch_id)
    return _shown(batch, yard)


@router.post("/batches/{batch_id}/cancel")
def cancel_batch(batch_id: str, tx: Transaction, yard: YardDep, caller: Caller) -> BatchObject:
    """Stop a batch. Lines with a result are kept, and are all that is charged."""
    return _shown(batches.cancel(tx, caller, batch_id), yard)


@router.post("/batches/{batch_id}/retry")
def retry_batch(
    batch_id: str,
    tx: Transaction,
    yard: YardDep,
    caller: Caller,
    idempotency_key: IdempotencyKey = None,
) -> BatchObject:
    """A new batch of the lines of this one that failed or never ran. The batch must have ended, and
    its input file must still be there."""
    batch = batches.retry(
        tx,
        caller,
        batch_id,
        tiers=yard.tiers,
        registry=yard.registry,
        idempotency_key=idempotency_key,
    )
    return _shown(batch, yard)


@router.get("/batches/{batch_id}/output", response_class=Response)
async def batch_output(
    batch_id: str,
    yard: YardDep,
    caller: Caller,
    after: Annotated[int, Query(ge=0, description="How many lines you have already.")] = 0,
) -> Response:
    """The results so far, as JSONL in the order in which they were stored, after the first `after`
    lines. The header `x-last-line` is what to pass as `after` next time: no line is missed or
    repeated."""

    def locate() -> LiveOutput:
        with yard.database.read() as tx:
            batch = batches.get(tx, organization_id=caller.organization_id, batch_id=batch_id)
            return live_output.locate(tx, batch, after=after)

    found = await asyncio.to_thread(locate)
    return StreamingResponse(
        live_output.read(yard.store, found),
        headers={"x-last-line": str(found.last_line)},
        media_type="application/jsonl",
    )


def _shown(batch: Batch, yard: Yard) -> BatchObject:
    return BatchObject.of(batch, prefect_ui_url=yard.settings.prefect_ui_url())
