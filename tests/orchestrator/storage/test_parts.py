import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.storage.parts import Work, in_flight, in_parts


@given(chunks=st.lists(st.binary(max_size=40)), size=st.integers(1, 50))
def test_parts_are_the_same_bytes_and_all_but_the_last_of_one_size(chunks: list[bytes], size: int) -> None:
    parts = asyncio.run(collect(chunks, size))
    assert b"".join(parts) == b"".join(chunks)
    assert all(len(part) == size for part in parts[:-1])
    assert all(0 < len(part) <= size for part in parts)


async def test_no_more_than_the_limit_are_under_way() -> None:
    under_way = most = 0

    async def call(work: Work) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        work()
        under_way -= 1

    done: list[int] = []
    async with in_flight(3, call) as add:
        for number in range(20):
            await add(partial(done.append, number))
    assert most == 3
    assert done == list(range(20))


@pytest.mark.parametrize("failing", ["a piece of work", "the block"])
async def test_nothing_is_under_way_after_a_failure(failing: str) -> None:
    under_way = 0

    async def call(work: Work) -> None:
        nonlocal under_way
        under_way += 1
        try:
            work()
            await asyncio.sleep(0.01)
        finally:
            under_way -= 1

    def fail() -> None:
        raise RuntimeError(failing)

    async def block() -> None:
        async with in_flight(4, call) as add:
            await add(lambda: None)
            if failing == "a piece of work":
                await add(fail)
            await add(lambda: None)
            await asyncio.sleep(0)
            if failing == "the block":
                fail()

    with pytest.raises(RuntimeError, match=failing):
        await block()
    assert under_way == 0


async def collect(chunks: list[bytes], size: int) -> list[bytes]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [part async for part in in_parts(stream(), size)]
