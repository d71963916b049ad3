"""Bytes as base64 while they stream: three become four, so chunks are cut at multiples of three."""

from base64 import b64encode
from collections.abc import AsyncIterator


async def encode(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The base64 text of all chunks together, without line ends."""
    left = b""
    async for chunk in chunks:
        left += chunk
        whole = len(left) - len(left) % 3
        yield b64encode(left[:whole])
        left = left[whole:]
    yield b64encode(left)


def length(size: int) -> int:
    """How many characters `size` bytes become."""
    return (size + 2) // 3 * 4
