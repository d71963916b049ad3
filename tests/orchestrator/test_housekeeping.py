"""Housekeeping on a real database and a real store: what goes, what stays, and twice does no harm."""

from datetime import timedelta

import pytest

from orchestrator import clock, housekeeping
from orchestrator.batches.model import Batch, BatchSegment
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.files.model import File
from orchestrator.storage import keys
from orchestrator.storage.local import LocalStore
from orchestrator.uploads.model import Upload, UploadPart, UploadStatus
from tests.factories import make_batch, make_file, make_upload


@pytest.fixture
def past() -> timedelta:
    return timedelta(days=3)


async def test_an_expired_file_loses_its_bytes_and_keeps_its_row(
    database: Database, store: LocalStore, past: timedelta
) -> None:
    with database.transaction() as tx:
        gone = make_file(tx, expires_at=clock.now() - past)
        kept = make_file(tx, expires_at=clock.now() + past)
    for file in (gone, kept):
        await store.put(file.key, b"{}\n")
    assert await housekeeping.expire_files(database, store) == 1
    assert await housekeeping.expire_files(database, store) == 0
    assert await store.size(gone.key) is None
    assert await store.size(kept.key) == 3
    with database.read() as tx:
        assert tx.get_one(File, gone.id).deleted_at is not None


async def test_the_input_of_a_live_batch_waits_for_its_end(
    database: Database, store: LocalStore, past: timedelta
) -> None:
    with database.transaction() as tx:
        batch = make_batch(tx, file=make_file(tx, expires_at=clock.now() - past))
    assert await housekeeping.expire_files(database, store) == 0
    with database.transaction() as tx:
        tx.get_one(Batch, batch.id).status = BatchStatus.COMPLETED
        tx.get_one(Batch, batch.id).error_file_id = batch.input_file_id
    assert await housekeeping.expire_files(database, store) == 1


async def test_a_stale_upload_expires_and_its_parts_go(
    database: Database, store: LocalStore, past: timedelta
) -> None:
    with database.transaction() as tx:
        upload = make_upload(tx, expires_at=clock.now() - past)
        key = keys.upload_part(upload.organization_id, upload.id, "part_1")
        tx.add(UploadPart(id="part_1", upload_id=upload.id, bytes=3, key=key, created_at=clock.now()))
    await store.put(key, b"abc")
    await housekeeping.expire_uploads(database, store)
    assert await store.size(key) is None
    with database.read() as tx:
        assert tx.get_one(Upload, upload.id).status is UploadStatus.EXPIRED
        assert tx.get(UploadPart, "part_1") is None


async def test_segments_go_some_days_after_their_batch_has_ended(
    database: Database, store: LocalStore, past: timedelta
) -> None:
    with database.transaction() as tx:
        batches = [make_batch(tx, status=status) for status in (BatchStatus.FAILED, BatchStatus.IN_PROGRESS)]
        for batch in batches:
            tx.add(
                BatchSegment(
                    batch_id=batch.id,
                    attempt=1,
                    sequence=1,
                    key=keys.segment(batch.organization_id, batch.id, 1, 1),
                    bytes=3,
                    completed=1,
                    failed=0,
                    usage={},
                    adopted_at=clock.now() - past,
                )
            )
    segment_keys = [keys.segment(batch.organization_id, batch.id, 1, 1) for batch in batches]
    for key in segment_keys:
        await store.put(key, b"1\toutput\t{}\n")
    assert await housekeeping.remove_segments(database, store) == 1
    assert [await store.size(key) is None for key in segment_keys] == [True, False]
