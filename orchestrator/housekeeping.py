"""What has expired is removed. Every step is bounded by a page, and doing it twice does no harm.

Each step loads, removes bytes, then applies: a crash in between leaves rows that the next run finds again.
"""

from datetime import timedelta
from typing import Literal

from sqlalchemy import ColumnElement, delete, exists, func
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from orchestrator import clock
from orchestrator.adapters.model import Adapter
from orchestrator.batches.model import Batch, BatchSegment
from orchestrator.batches.states import FINAL
from orchestrator.database.session import Database
from orchestrator.engines import sandbox
from orchestrator.engines.model import BatchDemand
from orchestrator.files.model import File
from orchestrator.fine_tuning.model import FineTuningCheckpoint, FineTuningJob
from orchestrator.fine_tuning.states import FINAL as FINE_TUNING_FINAL
from orchestrator.limits import at_once
from orchestrator.state_machine import transition
from orchestrator.storage import keys
from orchestrator.storage.store import ObjectStore
from orchestrator.uploads.model import UPLOAD, Upload, UploadPart, UploadStatus, UploadTrigger
from orchestrator.webhooks import deliveries

PAGE = 500  # rows a step takes at most: what is left waits for the next run
SEGMENT_DAYS = 2  # after its end, a batch's live output stays readable this long
STATE_DAYS = 2  # after its end, a fine-tuning job's tokens and states can be looked at this long
UNFINISHED_PUT_HOURS = 24
TOKEN_FILES: tuple[Literal["train", "valid"], ...] = ("train", "valid")


async def expire_files(database: Database, store: ObjectStore) -> int:
    """Files past `expires_at`: the bytes go, the row says when. What a live batch or fine-tuning job reads
    waits for its end."""
    with database.read() as tx:
        live = select(Batch.input_file_id).where(col(Batch.status).not_in(FINAL))
        training = exists().where(
            col(FineTuningJob.status).not_in(FINE_TUNING_FINAL),
            (col(FineTuningJob.training_file_id) == col(File.id))
            | (col(FineTuningJob.validation_file_id) == col(File.id)),
        )
        files = tx.exec(
            select(File)
            .where(
                col(File.expires_at) <= clock.now(),
                col(File.deleted_at).is_(None),
                col(File.id).not_in(live),
                ~training,
            )
            .limit(PAGE)
        ).all()
    await store.delete([file.key for file in files])
    with database.transaction() as tx:
        for file in files:
            tx.get_one(File, file.id, with_for_update=True).deleted_at = clock.now()
    return len(files)


async def expire_uploads(database: Database, store: ObjectStore) -> int:
    """Uploads that were never completed: their parts go."""
    with database.transaction() as tx:
        stale = tx.exec(
            select(Upload)
            .where(Upload.status == UploadStatus.PENDING, col(Upload.expires_at) <= clock.now())
            .limit(PAGE)
            .with_for_update(skip_locked=True)
        ).all()
        for upload in stale:
            transition(tx, upload, UPLOAD, UploadTrigger.EXPIRED, actor="system")
    return len(stale) + await remove_parts(database, store)


async def remove_parts(database: Database, store: ObjectStore) -> int:
    """Parts of uploads that have ended, whichever way."""
    with database.read() as tx:
        parts = tx.exec(
            select(UploadPart).join(Upload).where(Upload.status != UploadStatus.PENDING).limit(PAGE)
        ).all()
    await store.delete([part.key for part in parts])
    with database.transaction() as tx:
        tx.execute(delete(UploadPart).where(col(UploadPart.id).in_([p.id for p in parts])))
    return len(parts)


async def remove_segments(database: Database, store: ObjectStore) -> int:
    """Segments and line indexes of batches that ended some days ago: the result files have it all."""
    before = clock.now() - timedelta(days=SEGMENT_DAYS)
    with database.read() as tx:
        old = tx.exec(
            select(Batch)
            .join(BatchSegment)
            .where(col(Batch.status).in_(FINAL), col(BatchSegment.adopted_at) < before)
            .distinct()
            .limit(PAGE)
        ).all()
    for batch in old:
        prefix = keys.segment_prefix(batch.organization_id, batch.id)
        await store.delete([found.key async for found in store.list(prefix)])
        await store.delete([keys.batch_lines(batch.organization_id, batch.id)])
        with database.transaction() as tx:
            tx.execute(delete(BatchSegment).where(col(BatchSegment.batch_id) == batch.id))
    return len(old)


async def remove_training_states(database: Database, store: ObjectStore) -> int:
    """Token files and states of fine-tuning jobs that ended some days ago: nothing goes on from them."""
    ended_at = func.coalesce(FineTuningJob.succeeded_at, FineTuningJob.failed_at, FineTuningJob.cancelled_at)
    with database.read() as tx:
        old = tx.exec(
            select(FineTuningJob)
            .where(
                col(FineTuningJob.status).in_(FINE_TUNING_FINAL),
                col(FineTuningJob.swept_at).is_(None),
                ended_at < clock.now() - timedelta(days=STATE_DAYS),
            )
            .limit(PAGE)
        ).all()
    for job in old:
        states = keys.fine_tuning_state_prefix(job.organization_id, job.id)
        await store.delete([found.key async for found in store.list(states)])
        tokens = [keys.fine_tuning_tokens(job.organization_id, job.id, kind) for kind in TOKEN_FILES]
        await store.delete(tokens)
        with database.transaction() as tx:
            tx.get_one(FineTuningJob, job.id, with_for_update=True).swept_at = clock.now()
    return len(old)


async def remove_adapters(database: Database, store: ObjectStore) -> int:
    """The bytes of deleted adapters, once no live batch names them, nor a job that may go on from them, nor
    another adapter that has the same."""
    with database.read() as tx:
        deleted = tx.exec(
            select(Adapter)
            .where(col(Adapter.deleted_at).is_not(None), col(Adapter.removed_at).is_(None))
            .where(*_unused())
            .limit(PAGE)
        ).all()
    for adapter in deleted:
        await store.delete([found.key async for found in store.list(adapter.key_prefix)])
        with database.transaction() as tx:
            tx.get_one(Adapter, adapter.id, with_for_update=True).removed_at = clock.now()
    return len(deleted)


def _unused() -> tuple[ColumnElement[bool], ...]:
    """Of a deleted adapter."""
    same, other = aliased(Adapter), aliased(Adapter)
    kept = exists().where(col(same.key_prefix) == col(Adapter.key_prefix), col(same.deleted_at).is_(None))
    names_it = (
        select(Batch.id)
        .join(File, col(File.id) == col(Batch.input_file_id))
        .where(col(Batch.status).not_in(FINAL))
        .where(func.jsonb_exists(col(File.summary)["models"], other.id))
    )
    named = exists().where(col(other.key_prefix) == col(Adapter.key_prefix), names_it.exists())
    resumable = exists().where(
        col(other.key_prefix) == col(Adapter.key_prefix),
        col(FineTuningCheckpoint.adapter_id) == col(other.id),
        col(FineTuningJob.id) == col(FineTuningCheckpoint.job_id),
        col(FineTuningJob.status).not_in(FINE_TUNING_FINAL),
    )
    return ~kept, ~named, ~resumable


async def forget_demands(database: Database) -> int:
    """Demands of drivers that died and whose batch has ended since, what nobody asks for any more, and what
    dead processes had under way."""
    with database.transaction() as tx:
        ended = select(Batch.id).where(col(Batch.status).in_(FINAL))
        gone = tx.execute(delete(BatchDemand).where(col(BatchDemand.batch_id).in_(ended)))
        forgotten = int(gone.rowcount)  # type: ignore[attr-defined]  # a DELETE's cursor result has it
        return forgotten + sandbox.forget_stale(tx) + at_once.forget_stale(tx)


async def prune_webhooks(database: Database) -> int:
    """Webhook deliveries of last month, and the events that they told of."""
    with database.transaction() as tx:
        return deliveries.prune(tx)


async def sweep_store(store: ObjectStore) -> int:
    """Puts that were begun and never finished."""
    return await store.sweep(older_than=clock.now() - timedelta(hours=UNFINISHED_PUT_HOURS))
