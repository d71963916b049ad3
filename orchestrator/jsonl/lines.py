"""Cuts a stream of bytes into lines. Knows nothing of JSON or of requests.

A line ends at a newline, or at the end of the file; a carriage return before the newline is not
part of it. A UTF-8 byte order mark at the very start of the file is skipped.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEAD_BYTES = 2_048  # kept of a line that is too long: enough to read its custom_id
CHUNK_BYTES = 1 << 20


class Line(NamedTuple):
    """One line: where it starts in the file and its bytes, without the line ending."""

    offset: int
    raw: bytes


class OversizedLine(NamedTuple):
    """A line of more bytes than allowed. Only its first bytes were kept."""

    offset: int
    length: int
    head: bytes


class LineSplitter:
    """Push parser: the lines are the same however the stream is cut into chunks.

    Holds at most one unfinished line, hence at most `line_bytes_max` bytes between two chunks.
    """

    def __init__(self, line_bytes_max: int) -> None:
        self.line_bytes_max = line_bytes_max
        self._offset = 0  # of the unfinished line
        self._length = 0
        self._pieces: list[bytes] = []
        self._head = b""  # not empty: the unfinished line is too long already

    def feed(self, chunk: bytes) -> list[Line | OversizedLine]:
        """The lines that end in this chunk."""
        pieces = chunk.split(b"\n")
        rest = pieces.pop()
        lines: list[Line | OversizedLine] = []
        for piece in pieces:
            self._hold(piece)
            lines.append(self._cut())
        if rest:
            self._hold(rest)
        return lines

    def finish(self) -> list[Line | OversizedLine]:
        """The last line, where the file does not end with a newline."""
        if self._length == 0 or self._only_a_mark():
            return []
        return [self._cut()]

    def _hold(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length <= self.line_bytes_max:
            self._pieces.append(piece)
        else:
            known = self._head or b"".join(self._pieces)
            self._head = known + piece[: max(0, HEAD_BYTES - len(known))]
            self._pieces = []

    def _cut(self) -> Line | OversizedLine:
        offset, length, head, pieces = self._offset, self._length, self._head, self._pieces
        self._offset, self._length, self._head, self._pieces = offset + length + 1, 0, b"", []
        if head:
            return OversizedLine(offset, length, head[:HEAD_BYTES])
        raw = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if offset == 0 and raw.startswith(BYTE_ORDER_MARK):
            offset, raw = len(BYTE_ORDER_MARK), raw[len(BYTE_ORDER_MARK) :]
        return Line(offset, raw[:-1] if raw.endswith(b"\r") else raw)

    def _only_a_mark(self) -> bool:
        return self._offset == 0 and b"".join(self._pieces) == BYTE_ORDER_MARK


def read_lines(source: BinaryIO, line_bytes_max: int) -> Iterator[Line | OversizedLine]:
    """The lines of an open file, read as they are asked for."""
    splitter = LineSplitter(line_bytes_max)
    while chunk := source.read(CHUNK_BYTES):
        yield from splitter.feed(chunk)
    yield from splitter.finish()
