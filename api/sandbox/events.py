"""Server-sent events of an engine, as its customer is to have them, and what they tell of tokens."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from orchestrator.batches.answer_usage import Answer
from orchestrator.batches.segments import LineUsage

EVENT_BYTES_MAX = 64 * 2**20
_END = re.compile(rb"\r?\n\r?\n")
_DATA = b"data:"


class EventTooLarge(Exception):
    """More bytes without an end than any event has."""


class _Chunk(Answer):
    """What is read of one event: `choices` of chat and text, `type` and `response` of `/v1/responses`."""

    choices: list[Raw] | None = None
    type: str = ""
    response: Answer | None = None


_read = msgspec.json.Decoder(_Chunk).decode


async def split(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole events, without the empty line that ends each. Raises EventTooLarge."""
    begun = b""
    async for piece in pieces:
        *whole, begun = _END.split(begun + piece)
        for event in whole:
            yield event
        if len(begun) > EVENT_BYTES_MAX:
            raise EventTooLarge
    if begun:
        yield begun


@dataclass
class Tally:
    """Counts while events pass. Engines of ours tell their counts with every chunk, others at the end: until
    then each chunk counts as one token. `wants_usage`, `wants_every_usage`: what the customer asked to be
    told itself."""

    wants_usage: bool
    wants_every_usage: bool = False
    counted: LineUsage | None = None
    chunks: int = 0

    def used(self) -> LineUsage | None:
        """What has been answered so far; None before the first token."""
        return self.counted or (LineUsage(output_tokens=self.chunks) if self.chunks else None)

    def shown(self, event: bytes) -> bytes | None:
        """The event as the customer is to have it; None for counts that it did not ask for."""
        name, mark, data = event.partition(_DATA)
        try:
            chunk = _read(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return event  # the end, or a comment
        if chunk.response is not None and chunk.response.usage is not None:
            self.counted = chunk.response.tokens()
        elif chunk.choices or chunk.type.endswith(".delta"):
            self.chunks += 1
        if chunk.usage is None:
            return event
        self.counted = chunk.tokens()
        if not chunk.choices:
            return event if self.wants_usage else None
        if self.wants_every_usage:
            return event
        bare: dict[str, Any] = msgspec.json.decode(data)
        del bare["usage"]
        return name + mark + b" " + msgspec.json.encode(bare)
