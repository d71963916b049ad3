"""A batch's results while it runs: immutable objects of some hundred lines, in the order they came.

    <line number>\t<output|error>\t<an OpenAI output line>\n

Lines are numbered from 1 in the objects, which a person may read, and from 0 everywhere in the
code. An object counts once the batch has adopted it, so a driver that lost its lease adds nothing,
whatever it still writes. Whoever resumes reads the adopted segments: only they know what is done.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from orchestrator.batches.result_lines import Kind
from orchestrator.storage.store import ObjectStore

FLUSH_LINES = 256
FLUSH_SECONDS = 2.0
FLUSH_BYTES = 8 * 2**20  # a segment is stored before its time when it is this large
BUFFER_BYTES_MAX = 64 * 2**20  # results that wait for a slow store; then answers wait, then lines

Put = Callable[[int, bytes], Awaitable[str]]


class LineUsage(Struct, frozen=True):
    """Tokens of one answered line, as the engine counted them; `cached` are part of `input`,
    `reasoning` of `output`."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True)
class SegmentInfo:
    """A stored segment: `completed` output lines and `failed` error lines. `usage` is
    `{model: {"lines", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"}}` over
    the completed ones."""

    sequence: int
    key: str
    bytes: int
    completed: int
    failed: int
    usage: dict[str, dict[str, int]]


@dataclass
class _Segment:
    """A segment while it grows."""

    lines: list[bytes] = field(default_factory=list)
    bytes: int = 0
    failed: int = 0
    usage: dict[str, Counter[str]] = field(default_factory=dict)


class SegmentWriter:
    """Collects result lines and stores them as segments: object first, row second.

    `put(sequence, data)` stores an object and returns its key; `adopt(info)` makes it count and may
    raise LeaseLost. What either raises ends `run`; there is no retry here. Segments are numbered on
    from `sequence`. Event loop only.
    """

    def __init__(
        self,
        put: Put,
        adopt: Callable[[SegmentInfo], Awaitable[None]],
        *,
        flush_lines: int = FLUSH_LINES,
        flush_seconds: float = FLUSH_SECONDS,
        sequence: int = 0,
    ) -> None:
        self._put = put
        self._adopt = adopt
        self._flush_lines = flush_lines
        self._flush_seconds = flush_seconds
        self._segment = _Segment()
        self.sequence = sequence  # of the segment last stored
        self._closed = False
        self._begun = asyncio.Event()  # there is something to store
        self._due = asyncio.Event()  # there is enough to store at once
        self._room = asyncio.Event()
        self._room.set()

    async def add(
        self, line: int, kind: Kind, data: bytes, *, model: str, usage: LineUsage | None = None
    ) -> None:
        """Take the result of `line` (from 0). Waits only while the store is far behind."""
        await self._room.wait()
        segment = self._segment
        segment.lines.append(b"%d\t%b\t%b\n" % (line + 1, kind.encode(), data))
        segment.bytes += len(segment.lines[-1])
        if kind is Kind.OUTPUT:
            used = segment.usage.setdefault(model, Counter())
            used["lines"] += 1
            for name in LineUsage.__struct_fields__:
                used[name] += getattr(usage, name, 0)
        else:
            segment.failed += 1
        self._begun.set()
        if len(segment.lines) >= self._flush_lines or segment.bytes >= FLUSH_BYTES:
            self._due.set()
        if segment.bytes >= BUFFER_BYTES_MAX:
            self._room.clear()

    def close(self) -> None:
        """Nothing more will come: `run` stores what is there and returns."""
        self._closed = True
        self._begun.set()
        self._due.set()

    async def run(self) -> None:
        """Store segments until closed, each at the latest `flush_seconds` after its first line."""
        while not (self._closed and not self._segment.lines):
            await self._begun.wait()
            try:
                async with asyncio.timeout(self._flush_seconds):
                    await self._due.wait()
            except TimeoutError:
                pass  # not full, but old enough
            if self._segment.lines:
                await self._flush()

    async def _flush(self) -> None:
        segment, self._segment = self._segment, _Segment()
        if not self._closed:
            self._begun.clear()
            self._due.clear()
        self.sequence += 1
        data = b"".join(segment.lines)
        key = await self._put(self.sequence, data)
        await self._adopt(
            SegmentInfo(
                sequence=self.sequence,
                key=key,
                bytes=len(data),
                completed=len(segment.lines) - segment.failed,
                failed=segment.failed,
                usage={model: dict(used) for model, used in segment.usage.items()},
            )
        )
        if self._segment.bytes < BUFFER_BYTES_MAX:
            self._room.set()


class SegmentRef(Protocol):
    """What is known of an adopted segment: a SegmentInfo, or its row."""

    @property
    def key(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def completed(self) -> int: ...
    @property
    def failed(self) -> int: ...


class SegmentCorrupt(Exception):
    """A segment does not hold what was adopted: the store lost or changed bytes."""


@dataclass(frozen=True)
class ResultMap:
    """Which line has its result where, in all adopted segments laid end to end. 13 bytes a line.

    `offset` and `length` are of the output line's JSON. Where a line has more than one result, the
    first adopted counts.
    """

    kind: NDArray[np.uint8]  # 0: no result yet, otherwise a position in KINDS
    offset: NDArray[np.uint64]
    length: NDArray[np.uint32]

    KINDS = (None, Kind.OUTPUT, Kind.ERROR)

    @classmethod
    async def scan(
        cls,
        store: ObjectStore,
        segments: Sequence[SegmentRef],
        *,
        lines: int,
        copy: BinaryIO | None = None,
    ) -> "ResultMap":
        """Read every segment once, in the order of adoption, for a batch of `lines` lines.

        With `copy`, their bytes are appended to that file, where the map then points. Memory is the
        map and one chunk. Raises SegmentCorrupt, naming the segment, and ObjectMissing.
        """
        results = cls(np.zeros(lines, np.uint8), np.zeros(lines, np.uint64), np.zeros(lines, np.uint32))
        start = 0
        for segment in segments:
            await results._read(store, segment, start, copy)
            start += segment.bytes
        return results

    def todo(self, wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The lines (from 0) that are wanted and have no result yet."""
        return np.flatnonzero((self.kind == 0) & wanted)

    def lines(self, kind: Kind) -> int:
        """How many lines have a result of this kind."""
        return int(np.count_nonzero(self.kind == self.KINDS.index(kind)))

    async def _read(self, store: ObjectStore, segment: SegmentRef, start: int, copy: BinaryIO | None) -> None:
        found: Counter[Kind] = Counter()
        size = 0
        async for line in _lines(store.get_stream(segment.key)):
            self._take(segment, line, start + size, found)
            size += len(line)
            if copy is not None:
                copy.write(line)
        adopted = (segment.bytes, segment.completed, segment.failed)
        if (size, found[Kind.OUTPUT], found[Kind.ERROR]) != adopted:
            raise SegmentCorrupt(
                f"{segment.key} has {size} bytes, {found[Kind.OUTPUT]} output and "
                f"{found[Kind.ERROR]} error lines; adopted were {adopted[0]}, {adopted[1]} and "
                f"{adopted[2]}"
            )

    def _take(self, segment: SegmentRef, line: bytes, offset: int, found: Counter[Kind]) -> None:
        try:
            number, name, data = line.split(b"\t", 2)
            index, kind = int(number) - 1, Kind(name.decode())
            if not (0 <= index < len(self.kind) and data.endswith(b"}\n")):
                raise ValueError
        except ValueError:
            raise SegmentCorrupt(
                f"{segment.key} has {line[:40]!r} where a result of one of {len(self.kind)} lines should be"
            ) from None
        found[kind] += 1
        if not self.kind[index]:
            self.kind[index] = self.KINDS.index(kind)
            self.offset[index] = offset + len(line) - len(data)
            self.length[index] = len(data) - 1


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines with their newlines; at the end, what has none."""
    tail = b""
    async with aclosing(chunks) as stream:  # type: ignore[type-var]  # every store's is a generator
        async for chunk in stream:
            *lines, tail = (tail + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"
    if tail:
        yield tail
