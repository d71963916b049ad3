"""Housekeeping on a real database and a real store: what goes, what stays, and twice does no harm."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator import clock, housekeeping
from orchestrator.adapters.model import Adapter
from orchestrator.adapters.store import StoredAdapter, fetch_adapter, put_adapter
from orchestrator.batches.model import Batch, BatchSegment
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.files.model import File, Purpose
from orchestrator.fine_tuning.model import FineTuningCheckpoint, FineTuningJob
from orchestrator.fine_tuning.states import FineTuningStatus
from orchestrator.storage import keys
from orchestrator.storage.local import LocalStore
from orchestrator.uploads.model import Upload, UploadPart, UploadStatus
from tests.factories import make_adapter, make_batch, make_file, make_fine_tuning, make_upload
from tests.tiny_adapters import unpacked

CARD = {"base_model": "yard-smoke"}


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


async def test_a_dataset_of_a_live_fine_tuning_job_waits_for_its_end(
    database: Database, store: LocalStore, past: timedelta
) -> None:
    with database.transaction() as tx:
        training = make_file(tx, purpose=Purpose.FINE_TUNE, expires_at=clock.now() - past)
        make_fine_tuning(tx, file=training)
        make_fine_tuning(tx, file=training, status=FineTuningStatus.SUCCEEDED)
    assert await housekeeping.expire_files(database, store) == 0


async def test_tokens_and_states_go_some_days_after_their_training_has_ended(
    database: Database, store: LocalStore, past: timedelta
) -> None:
    with database.transaction() as tx:
        old = make_fine_tuning(tx, status=FineTuningStatus.CANCELLED, cancelled_at=clock.now() - past)
        new = make_fine_tuning(tx, status=FineTuningStatus.SUCCEEDED, succeeded_at=clock.now())
        paused = make_fine_tuning(tx, status=FineTuningStatus.PAUSED, paused_at=clock.now() - past)
    left = {}
    for job in (old, new, paused):
        tokens = keys.fine_tuning_tokens(job.organization_id, job.id, "train")
        state = keys.fine_tuning_state(job.organization_id, job.id, 120)
        csv = keys.fine_tuning_result(job.organization_id, job.id, "metrics.csv")
        left[job.id] = (tokens, state, csv)
        for key in left[job.id]:
            await store.put(key, b"abc")
    assert await housekeeping.remove_training_states(database, store) == 1
    assert await housekeeping.remove_training_states(database, store) == 0
    there = {id: [await store.size(key) is not None for key in found] for id, found in left.items()}
    assert there == {old.id: [False, False, True], new.id: [True] * 3, paused.id: [True] * 3}
    with database.read() as tx:
        assert tx.get_one(FineTuningJob, old.id).swept_at is not None


async def test_a_deleted_adapter_loses_its_bytes_once_nothing_needs_them(
    database: Database, store: LocalStore
) -> None:
    with database.transaction() as tx:
        adapter = make_adapter(tx, deleted_at=clock.now())
        twin = make_adapter(tx, key_prefix=adapter.key_prefix)
        file = make_file(tx, summary={"models": {adapter.id: 3}})
        batch = make_batch(tx, file=file)
        job = make_fine_tuning(tx)
        tx.add(
            FineTuningCheckpoint(
                id="ftckpt_1",
                job_id=job.id,
                step=1,
                adapter_id=adapter.id,
                state_key="s",
                trained_tokens=1,
                metrics={},
                created_at=clock.now(),
            )
        )
    key = f"{adapter.key_prefix}adapter_config.json"
    await store.put(key, b"{}")
    # Three things need the bytes. Each goes in turn.
    assert await housekeeping.remove_adapters(database, store) == 0
    with database.transaction() as tx:
        tx.get_one(Adapter, twin.id).deleted_at = clock.now()
    assert await housekeeping.remove_adapters(database, store) == 0
    with database.transaction() as tx:
        tx.get_one(Batch, batch.id).status = BatchStatus.FAILED
    assert await housekeeping.remove_adapters(database, store) == 0
    assert await store.size(key) == 2
    with database.transaction() as tx:
        tx.get_one(FineTuningJob, job.id).status = FineTuningStatus.FAILED
    assert await housekeeping.remove_adapters(database, store) == 2
    assert await housekeeping.remove_adapters(database, store) == 0
    assert await store.size(key) is None


async def test_an_adapter_brought_again_while_its_bytes_are_removed_keeps_its_own(
    database: Database, tmp_path: Path
) -> None:
    files = unpacked(tmp_path / "files")
    brought: list[StoredAdapter] = []

    class BusyStore(LocalStore):
        async def delete(self, keys: Iterable[str]) -> None:
            brought.append(await put_adapter(self, "org_a", "ft_2", files, CARD))
            await super().delete(keys)

    store = BusyStore(tmp_path / "store")
    first = await put_adapter(store, "org_a", "ft_1", files, CARD)
    with database.transaction() as tx:
        make_adapter(tx, digest=first.digest, key_prefix=first.key_prefix, deleted_at=clock.now())
    assert await housekeeping.remove_adapters(database, store) == 1
    assert [key async for key in store.list(first.key_prefix)] == []
    (again,) = brought
    assert again.digest == first.digest
    assert (await fetch_adapter(store, again, tmp_path / "cache")).is_dir()
