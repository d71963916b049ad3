"""Work and its heartbeat, side by side: whichever stops first, stops the other."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def beside(walk: Coroutine[Any, Any, None], heart: Coroutine[Any, Any, None]) -> None:
    """Walk until done. A heart that stops, stops the walk, and its reason is raised."""
    both = [asyncio.create_task(walk), asyncio.create_task(heart)]
    try:
        done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in both:
            each.cancel()
        await asyncio.gather(*both, return_exceptions=True)
    for each in sorted(done, key=both.index, reverse=True):  # the heart's reason comes first
        each.result()
