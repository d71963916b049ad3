"""Blocking calls and cancellation, with a thread that waits until the test lets it go."""

import asyncio
import threading

import pytest

from orchestrator.storage.threads import in_thread


async def test_the_result_and_the_error_of_the_thread_are_ours() -> None:
    assert await in_thread(int, "7") == 7
    with pytest.raises(ValueError, match="seven"):
        await in_thread(int, "seven")


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_a_cancelled_call_gives_way_only_after_its_thread(cancellations: int) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(10)
        ended.set()
        raise OSError("an error that nobody waits for any more")

    call = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(cancellations):
        call.cancel()
        await asyncio.wait([call], timeout=0.05)
        assert not call.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()
