"""Bytes on their way into the store: counted, looked at as they pass, never collected."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from orchestrator.storage.store import ObjectStore, Stored

# Raises where so many bytes are more than allowed.
SizeCheck = Callable[[int], None]


class Inspector(Protocol):
    """Whatever looks at the bytes while they pass, such as the validator of batch files."""

    def feed(self, chunk: bytes) -> None: ...


async def take_in(
    store: ObjectStore,
    key: str,
    chunks: AsyncIterator[bytes],
    *,
    content_type: str,
    check_size: SizeCheck,
    inspectors: Sequence[Inspector] = (),
) -> Stored:
    """Store `chunks` under `key` and show each to the inspectors. Whatever `check_size`, `chunks`
    or an inspector raises ends it at once, and nothing is left in the store."""

    async def counted() -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in chunks:
            seen += len(chunk)
            check_size(seen)
            for inspector in inspectors:
                inspector.feed(chunk)
            yield chunk

    return await store.put_stream(key, counted(), content_type=content_type)


@asynccontextmanager
async def removed_on_failure(store: ObjectStore, key: str) -> AsyncIterator[None]:
    """If the block fails, whatever it stored under `key` is removed: no object without a row."""
    try:
        yield
    except BaseException:
        await store.delete([key])
        raise
