import base64
from collections.abc import AsyncIterator

import pytest

from api import base64_stream

CONTENT = bytes(range(256)) * 3


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("length", [0, 1, 2, 3, 100, 768])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_however_it_comes_it_is_one_text(length: int, size: int) -> None:
    chunks = base64_stream.encode(pieces(CONTENT[:length], size))
    encoded = b"".join([chunk async for chunk in chunks])
    assert encoded == base64.b64encode(CONTENT[:length])
    assert len(encoded) == base64_stream.length(length)
