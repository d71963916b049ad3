"""A put that sends so many bytes and then stalls, to be killed: `stalled_put <key> <bytes>`."""

import asyncio
import sys
from collections.abc import AsyncIterator

from orchestrator.settings import Settings
from orchestrator.storage.open import open_store

CHUNK_BYTES = 1_000_000


async def stall(size: int) -> AsyncIterator[bytes]:
    """`size` bytes, then word of it, then nothing more."""
    for start in range(0, size, CHUNK_BYTES):
        yield bytes(min(CHUNK_BYTES, size - start))
    sys.stdout.write("stalled\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    key, size = sys.argv[1:]
    asyncio.run(open_store(Settings()).put_stream(key, stall(int(size))))
