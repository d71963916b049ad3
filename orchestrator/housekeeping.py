"""What has expired is removed. Every step is bounded by a page, and doing it twice does no harm.

Each step loads, removes bytes, then applies: a crash in between leaves rows that the next run finds again.
"""

from datetime import timedelta

from sqlalchemy import delete
from sqlmodel import col, select

from orchestrator import clock
from orchestrator.batches.model import Batch, BatchSegment
from orchestrator.batches.states import FINAL
from orchestrator.database.session import Database
from orchestrator.engines.model import BatchDemand
from orchestrator.files.model import File
from orchestrator.state_machine import transition
from orchestrator.storage import keys
from orchestrator.storage.store import ObjectStore
from orchestrator.uploads.model import UPLOAD, Upload, UploadPart, UploadStatus, UploadTrigger

PAGE = 500  # rows a step takes at most: what is left waits for the next run
SEGMENT_DAYS = 2  # after its end, a batch's live output stays readable this long
UNFINISHED_PUT_HOURS = 24


async def expire_files(database: Database, store: ObjectStore) -> int:
    """Files past `expires_at`: the bytes go, the row says when. A live batch's input waits for its end."""
    with database.read() as tx:
        live = select(Batch.input_file_id).where(col(Batch.status).not_in(FINAL))
        files = tx.exec(
            select(File)
            .where(
                col(File.expires_at) <= clock.now(),
                col(File.deleted_at).is_(None),
                col(File.id).not_in(live),
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


async def forget_demands(database: Database) -> int:
    """Demands of drivers that died and whose batch has ended since."""
    with database.transaction() as tx:
        ended = select(Batch.id).where(col(Batch.status).in_(FINAL))
        gone = tx.execute(delete(BatchDemand).where(col(BatchDemand.batch_id).in_(ended)))
        return int(gone.rowcount)  # type: ignore[attr-defined]  # a DELETE's cursor result has it


async def sweep_store(store: ObjectStore) -> int:
    """Puts that were begun and never finished."""
    return await store.sweep(older_than=clock.now() - timedelta(hours=UNFINISHED_PUT_HOURS))
