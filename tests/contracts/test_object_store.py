"""What every object store promises. Each test runs on files, on S3 (moto) and, marked, on Ceph."""

import asyncio
import hashlib
import random
import shutil
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from orchestrator import clock
from orchestrator.child_process import ChildProcess
from orchestrator.settings import PROJECT, Settings, inherited_environment
from orchestrator.storage.local import LocalStore
from orchestrator.storage.open import open_store
from orchestrator.storage.s3 import S3Store
from orchestrator.storage.store import ObjectMissing, ObjectStore, Stored, StoreUnavailable

pytestmark = pytest.mark.server

KEY = "org_a/files/file-1/content"
MULTIPART_BYTES = 20_000_000  # three parts of 8 MiB
ODD_KEYS = [
    *("", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a/", ".hidden", "a/.b"),
    *("a b", "ü", "a\nb", "a\n", "a\\b", "a\0b", "a" * 256, "/".join(["a" * 200] * 5)),
]
LONG_AGO = datetime(2009, 1, 1, tzinfo=UTC)  # moto says of every upload that it began in 2010


async def test_what_is_put_comes_back(store: ObjectStore) -> None:
    data = b'{"custom_id": "1"}\n'
    assert await store.put(KEY, data) == Stored(len(data), hashlib.sha256(data).hexdigest())
    assert await store.get(KEY, size_max=len(data)) == data
    assert await store.size(KEY) == len(data)


async def test_a_stream_is_one_object_however_it_was_cut(store: ObjectStore) -> None:
    stored = await store.put_stream(KEY, in_chunks(b"a", b"", b"bc" * 700_000, b"d"))
    assert stored.size == 1_400_002
    assert await read(store, KEY) == b"a" + b"bc" * 700_000 + b"d"


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    stored = await store.put_stream(KEY, in_chunks())
    assert stored == Stored(0, hashlib.sha256(b"").hexdigest())
    assert await store.size(KEY) == 0
    assert await read(store, KEY) == b""
    assert await store.get(KEY, size_max=0) == b""


async def test_an_object_of_many_parts_comes_back_whole(store: ObjectStore) -> None:
    data = some_bytes(MULTIPART_BYTES)
    stored = await store.put_stream(KEY, cut(data, 777_777))
    assert stored == Stored(len(data), hashlib.sha256(data).hexdigest())
    assert await read(store, KEY) == data
    assert await read(store, KEY, start=8_388_600, end=8_388_620) == data[8_388_600:8_388_620]


async def test_on_s3_a_long_object_travels_in_parts(store: ObjectStore) -> None:
    await store.put(KEY, some_bytes(MULTIPART_BYTES))
    url = await store.presign_get(KEY, filename="x", seconds=60)
    if url is None:
        assert isinstance(store, LocalStore)
        return
    async with httpx.AsyncClient() as customer:
        answer = await customer.get(url, headers={"Range": "bytes=0-9"})
    assert answer.headers["ETag"].endswith('-3"')


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, None), (3, None), (0, 4), (3, 4), (9, 99), (4, 4), (5, 3), (10, None), (99, 100)],
)
async def test_a_range_is_a_slice(store: ObjectStore, start: int, end: int | None) -> None:
    await store.put(KEY, b"0123456789")
    assert await read(store, KEY, start=start, end=end) == b"0123456789"[start:end]


async def test_a_range_does_not_count_from_the_end(store: ObjectStore) -> None:
    await store.put(KEY, b"0123456789")
    with pytest.raises(ValueError, match="found -1"):
        await read(store, KEY, start=-1)


async def test_a_second_put_replaces_the_first(store: ObjectStore) -> None:
    await store.put(KEY, b"first, and longer")
    await store.put(KEY, b"second")
    assert await store.get(KEY, size_max=100) == b"second"


@pytest.mark.parametrize("before", [100, MULTIPART_BYTES])
async def test_a_stream_that_fails_leaves_nothing(store: ObjectStore, before: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for chunk in cut(some_bytes(before), 1_000_000):
            yield chunk
        raise RuntimeError("the customer hung up")

    with pytest.raises(RuntimeError, match="hung up"):
        await store.put_stream(KEY, broken())
    assert await store.size(KEY) is None
    assert await sweep_all(store) == 0


@pytest.mark.parametrize("before", [100, MULTIPART_BYTES])
async def test_a_cancelled_put_leaves_nothing(store: ObjectStore, before: int) -> None:
    stalled = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        async for chunk in cut(some_bytes(before), 1_000_000):
            yield chunk
        stalled.set()
        await asyncio.Event().wait()

    put = asyncio.create_task(store.put_stream(KEY, endless()))
    await stalled.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert await store.size(KEY) is None
    assert await sweep_all(store) == 0


async def test_a_put_that_fails_leaves_the_object_before_it(store: ObjectStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half of the sec"
        raise RuntimeError("the customer hung up")

    await store.put(KEY, b"first")
    with pytest.raises(RuntimeError, match="hung up"):
        await store.put_stream(KEY, broken())
    assert await store.get(KEY, size_max=100) == b"first"


async def test_a_reader_during_puts_sees_one_of_them_whole(store: ObjectStore) -> None:
    versions = [bytes([65 + number]) * (1_000 * number) for number in range(1, 20)]
    await store.put(KEY, versions[0])
    puts = asyncio.create_task(put_one_after_another(store, versions))
    while not puts.done():
        assert await read(store, KEY) in versions
    await puts


async def test_eight_puts_at_a_time_do_not_mix(store: ObjectStore) -> None:
    objects = {f"org_a/files/file-{n}/content": bytes([n]) * 1_000_000 for n in range(8)}
    puts = [store.put_stream(key, cut(data, 99_999)) for key, data in objects.items()]
    await asyncio.gather(*puts)
    for key, data in objects.items():
        assert await store.get(key, size_max=1_000_000) == data


async def test_what_is_missing_is_said_to_be_missing(store: ObjectStore, tmp_path: Path) -> None:
    await store.put(KEY, b"a neighbour")
    for key in ("org_b/x", "org_a/files", f"{KEY}/below"):
        assert await store.size(key) is None
        with pytest.raises(ObjectMissing):
            await store.get(key, size_max=100)
        with pytest.raises(ObjectMissing):
            await read(store, key)
        with pytest.raises(ObjectMissing):
            await read(store, key, start=5, end=5)
        with pytest.raises(ObjectMissing):
            async with store.local_copy(key, tmp_path):
                pass
        await store.delete([key])
    assert await store.get(KEY, size_max=100) == b"a neighbour"


async def test_a_get_refuses_more_than_it_was_told_to_expect(store: ObjectStore) -> None:
    await store.put(KEY, b"12345")
    with pytest.raises(ValueError, match=f"at most 4 bytes under {KEY}, found 5"):
        await store.get(KEY, size_max=4)


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_an_odd_key_is_refused_by_every_method(store: ObjectStore, key: str, tmp_path: Path) -> None:
    async def copy() -> None:
        async with store.local_copy(key, tmp_path):
            pass

    for attempt in (
        store.put(key, b""),
        store.put_stream(key, in_chunks(b"")),
        store.get(key, size_max=1),
        read(store, key),
        store.size(key),
        store.delete([KEY, key]),
        copy(),
        store.presign_get(key, filename="x", seconds=1),
    ):
        with pytest.raises(ValueError, match="expected a key"):
            await attempt


@pytest.mark.parametrize("prefix", ["/", "../", "a//", "a/../", ".", "a/.unfinished"])
async def test_an_odd_prefix_is_refused(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(ValueError, match="expected a prefix"):
        await listed(store, prefix)


async def test_a_listing_is_in_key_order_and_within_its_prefix(store: ObjectStore) -> None:
    keys = ["a-b", "a.b", "a/b/c", "a/b/d", "a/c", "a0", "aa/x", "b/a"]
    before = clock.now() - timedelta(seconds=2)
    for key in reversed(keys):
        await store.put(key, key.encode())
    assert await listed(store, "") == keys
    assert await listed(store, "a/") == ["a/b/c", "a/b/d", "a/c"]
    assert await listed(store, "a") == keys[:-1]
    assert await listed(store, "a/b/d") == ["a/b/d"]
    assert await listed(store, "nothing/here/") == []
    async for found in store.list("aa/"):
        assert found.size == len("aa/x")
        assert before < found.modified_at < clock.now() + timedelta(seconds=2)


async def test_a_thousand_objects_and_more_are_listed_and_deleted(store: ObjectStore) -> None:
    keys = [f"org_a/batches/batch_1/segments/0001-{number:06d}.tsv" for number in range(1_005)]
    for some in range(0, len(keys), 50):
        await asyncio.gather(*(store.put(key, b"x") for key in keys[some : some + 50]))
    assert await listed(store, "org_a/batches/batch_1/segments/") == keys
    await store.delete(keys)
    assert await listed(store, "") == []


async def test_a_delete_leaves_the_neighbours(store: ObjectStore) -> None:
    for key in ("a/1", "a/2", "a/b/3"):
        await store.put(key, b"")
    await store.delete(["a/1", "a/b/3", "a/nothing"])
    assert await listed(store, "") == ["a/2"]


async def test_a_put_survives_deletes_that_empty_its_folder(store: ObjectStore) -> None:
    async def put_and_delete(name: str) -> None:
        for _ in range(20):
            await store.put(f"a/b/c/{name}", b"x")
            await store.delete([f"a/b/c/{name}"])

    await asyncio.gather(*(put_and_delete(f"{number}") for number in range(4)))
    assert await listed(store, "") == []


@pytest.mark.parametrize("size", [0, 10, MULTIPART_BYTES])
async def test_a_local_copy_is_a_file_while_the_block_lasts(
    store: ObjectStore, tmp_path: Path, size: int
) -> None:
    data = some_bytes(size)
    await store.put(KEY, data)
    folder = tmp_path / "copies"
    async with store.local_copy(KEY, folder) as path:
        assert path.read_bytes() == data
    assert not list(folder.glob("*"))
    assert await store.size(KEY) == size


async def test_a_local_copy_is_cleaned_up_after_a_failure(store: ObjectStore, tmp_path: Path) -> None:
    await store.put(KEY, b"x")
    with pytest.raises(RuntimeError, match="reader"):
        async with store.local_copy(KEY, tmp_path / "copies"):
            raise RuntimeError("the reader failed")
    assert not list((tmp_path / "copies").glob("*"))
    assert await store.get(KEY, size_max=1) == b"x"


async def test_a_presigned_address_needs_no_key_and_names_the_file(store: ObjectStore) -> None:
    await store.put(KEY, b"what a customer downloads", content_type="application/jsonl")
    url = await store.presign_get(KEY, filename='Größe"; x="1.jsonl', seconds=60)
    if isinstance(store, LocalStore):
        assert url is None
        return
    assert url is not None
    async with httpx.AsyncClient() as customer:
        answer = await customer.get(url)
    assert answer.status_code == 200
    assert answer.content == b"what a customer downloads"
    assert answer.headers["Content-Type"] == "application/jsonl"
    disposition = "attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%22%3B%20x%3D%221.jsonl"
    assert answer.headers["Content-Disposition"] == disposition


async def test_a_private_server_is_never_handed_to_customers(settings: Settings) -> None:
    s3 = settings.s3.model_copy(update={"public_endpoint_url": None})
    private = open_store(settings.model_copy(update={"s3": s3}))
    assert await private.presign_get(KEY, filename="x", seconds=60) is None


async def test_a_store_that_is_gone_is_unavailable(settings: Settings, tmp_path: Path) -> None:
    store = lost_store(settings, tmp_path)
    with pytest.raises(StoreUnavailable, match="object store"):
        await store.put(KEY, b"x")
    with pytest.raises(StoreUnavailable, match="object store"):
        await store.put(KEY, some_bytes(MULTIPART_BYTES))


async def test_a_long_stream_to_disk_needs_little_memory(tmp_path: Path) -> None:
    chunk = bytes(64 * 1024)
    store = LocalStore(tmp_path)
    tracemalloc.start()
    try:
        stored = await store.put_stream(KEY, in_chunks(*[chunk] * 3_200))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await store.delete([KEY])  # pytest would keep it
    assert stored.size == 209_715_200
    assert peak < 5_000_000


@pytest.mark.fault
async def test_a_killed_put_leaves_what_was_there_and_a_rest_for_sweep(
    settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    """A child process puts 20 MB over an object, stalls before the end, and is killed with -9."""
    await store.put(KEY, b"the object before")
    child = ChildProcess.spawn(
        [sys.executable, "-m", "tests.contracts.stalled_put", KEY, str(MULTIPART_BYTES)],
        env=inherited_environment() | as_environment(settings),
        log=tmp_path / "child.log",
        cwd=PROJECT,
    )
    try:
        await until(lambda: "stalled" in child.tail())
    finally:
        child.kill()
    assert await store.get(KEY, size_max=100) == b"the object before"
    assert await listed(store, "") == [KEY]
    assert await store.sweep(older_than=LONG_AGO) == 0
    assert await sweep_all(store) == 1
    assert await sweep_all(store) == 0
    assert await store.get(KEY, size_max=100) == b"the object before"


def some_bytes(size: int) -> bytes:
    """The same bytes every time, without a pattern."""
    return random.Random(size).randbytes(size)


async def in_chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: ObjectStore, key: str, *, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.get_stream(key, start=start, end=end)])


async def put_one_after_another(store: ObjectStore, versions: list[bytes]) -> None:
    for version in versions:
        await store.put(KEY, version)


async def listed(store: ObjectStore, prefix: str) -> list[str]:
    return [found.key async for found in store.list(prefix)]


async def sweep_all(store: ObjectStore) -> int:
    return await store.sweep(older_than=clock.now() + timedelta(hours=1))


def lost_store(settings: Settings, tmp_path: Path) -> ObjectStore:
    """A store whose folder or bucket is no more."""
    if settings.s3.endpoint_url is not None:
        return S3Store("yard-tests-no-such-bucket", "", settings.s3)
    local = LocalStore(tmp_path / "lost")
    shutil.rmtree(local.root)
    return local


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables from which another process reads the same settings."""
    environment = {"YARD_STORE_URL": str(settings.store_url)}
    s3 = settings.s3
    if s3.endpoint_url and s3.access_key_id and s3.secret_access_key:
        environment["YARD_S3__ENDPOINT_URL"] = s3.endpoint_url
        environment["YARD_S3__ACCESS_KEY_ID"] = s3.access_key_id
        environment["YARD_S3__SECRET_ACCESS_KEY"] = s3.secret_access_key.get_secret_value()
    return environment


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)
