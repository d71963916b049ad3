"""Whole files on their way to a store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from orchestrator.storage.store import ObjectStore, Stored

BLOCK_BYTES = 1 << 20
BINARY = "application/octet-stream"


async def put_file(store: ObjectStore, key: str, path: Path, *, content_type: str = BINARY) -> Stored:
    """Store the file at `path` as one object. Raises FileNotFoundError, StoreUnavailable."""
    return await store.put_stream(key, read_blocks(path), content_type=content_type)


async def read_blocks(path: Path) -> AsyncIterator[bytes]:
    """The file's bytes, read in threads."""
    with path.open("rb") as file:
        while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
            yield block
