"""Blocking calls of the stores, in threads of their own: a slow disk starves nothing else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

_THREADS = ThreadPoolExecutor(16, thread_name_prefix="store")


async def in_thread(function: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
    """Run `function` in a thread. Cancelled, this waits for the thread before it gives way: nobody
    closes a file, or aborts an upload, on which a thread is still at work."""
    work = asyncio.get_running_loop().run_in_executor(_THREADS, function, *args)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                pass  # told twice; the first one is raised below
        if not work.cancelled():
            work.exception()  # seen, so that the loop does not report it as forgotten
        raise
