"""What only a real S3 server can prove: that it checks signatures, lets them expire, and forgets
nothing over a restart."""

import asyncio
import tracemalloc
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from infra.ceph.rgw import Rgw
from orchestrator.settings import S3Settings, Settings
from orchestrator.storage.open import open_store
from orchestrator.storage.store import ObjectStore, StoreUnavailable

pytestmark = pytest.mark.ceph

KEY = "org_a/files/file-1/content"


@pytest.fixture
async def store(ceph: S3Settings) -> ObjectStore:
    """A store with one object."""
    store = open_store(Settings(store_url=f"s3://yard-tests/{uuid.uuid4().hex}", s3=ceph))
    await store.put(KEY, b"content")
    return store


async def test_a_wrong_secret_opens_nothing(ceph: S3Settings) -> None:
    wrong = ceph.model_copy(update={"secret_access_key": SecretStr("wrong")})
    store = open_store(Settings(store_url="s3://yard-tests/x", s3=wrong))
    with pytest.raises(StoreUnavailable, match="PutObject: SignatureDoesNotMatch"):
        await store.put(KEY, b"content")


async def test_a_presigned_address_opens_one_object_and_no_other(store: ObjectStore) -> None:
    await store.put("org_b/files/file-2/content", b"another customer's")
    url = await store.presign_get(KEY, filename="x", seconds=60)
    assert url is not None
    other = url.replace(KEY, "org_b/files/file-2/content")
    async with httpx.AsyncClient() as customer:
        assert (await customer.get(url)).content == b"content"
        assert (await customer.get(other)).status_code == 403


async def test_a_presigned_address_expires(store: ObjectStore) -> None:
    url = await store.presign_get(KEY, filename="x", seconds=1)
    assert url is not None
    async with asyncio.timeout(30), httpx.AsyncClient() as customer:
        while (answer := await customer.get(url)).status_code == 200:
            await asyncio.sleep(0.1)
    assert answer.status_code == 403


async def test_two_hundred_megabytes_pass_in_bounded_memory(store: ObjectStore) -> None:
    chunk = bytes(64 * 1024)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3_200):
            yield chunk

    tracemalloc.start()
    try:
        stored = await store.put_stream("org_a/big", chunks())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert await store.size("org_a/big") == stored.size == 209_715_200
    assert peak < 80_000_000


async def test_objects_survive_a_restart(store: ObjectStore, rgw: Rgw) -> None:
    await asyncio.to_thread(rgw.restart)
    assert await store.get(KEY, size_max=100) == b"content"
    assert [found.key async for found in store.list("")] == [KEY]
