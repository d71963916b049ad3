"""A long object in parts: cutting a stream into them, and having a few under way at a time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

Work = Callable[[], None]


async def in_parts(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in parts of `size` bytes, the last one shorter; none if there are no bytes."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        while len(waiting) >= size:
            with memoryview(waiting) as view:
                part = bytes(view[:size])
            del waiting[:size]
            yield part
    if waiting:
        yield bytes(waiting)


@asynccontextmanager
async def in_flight(
    limit: int, call: Callable[[Work], Coroutine[None, None, None]]
) -> AsyncIterator[Callable[[Work], Awaitable[None]]]:
    """Gives an `add` that has `call` do a piece of work, once fewer than `limit` are under way.

    The block ends when all of them have, with the error of the first that failed. However it ends,
    none is under way after it.
    """
    tasks: deque[asyncio.Task[None]] = deque()

    async def add(work: Work) -> None:
        if len(tasks) == limit:
            await tasks.popleft()
        tasks.append(asyncio.create_task(call(work)))

    try:
        yield add
        while tasks:
            await tasks.popleft()
    finally:
        await asyncio.gather(*tasks, return_exceptions=True)
