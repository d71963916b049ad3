"""Where every line of a batch's input is, and what planning and pricing need to know of it.

56 bytes a line, in numpy columns: a million lines fit in 56 MB and are read back without parsing.
Lines are numbered from 1 in everything a user sees and indexed from 0 in here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = NDArray[Any]

PREFIX_DEPTHS = (256, 1_024, 4_096, 16_384)  # characters of the rendered prompt

_MAGIC = b"yard lines 1\n"
_ALIGNMENT = 8
_COLUMNS: dict[str, tuple[str, int]] = {  # dtype and width; the widest numbers first keeps all aligned
    "offset": ("<u8", 1),
    "prefix": ("<u8", len(PREFIX_DEPTHS)),
    "length": ("<u4", 1),
    "prompt_tokens": ("<u4", 1),
    "max_output_tokens": ("<u4", 1),
    "model": ("<u2", 1),
    "endpoint": ("<u1", 1),
    "wanted": ("?", 1),
}


@dataclass(frozen=True)
class LineIndex:
    """One row a line of the input file, bad lines included.

    `offset` and `length` are bytes in the input file, line ending excluded. `wanted` says whether
    the line is to be run; where it is not, every other column is 0. `model` and `endpoint` are
    positions in `models` and `endpoints`. `prefix` has a column for each of PREFIX_DEPTHS: the hash
    of that many characters of the prompt, so that rows sorted by (model, endpoint, prefix…) lie
    beside those they share a beginning with. `max_output_tokens` is the worst case over all choices
    of the request.
    """

    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    offset: Column
    length: Column
    model: Column
    endpoint: Column
    prefix: Column
    prompt_tokens: Column
    max_output_tokens: Column
    wanted: Column

    def __len__(self) -> int:
        return len(self.offset)

    def to_bytes(self) -> bytes:
        """A header (magic, size, JSON) and then the columns, one after another."""
        header = msgspec.json.encode(_Header(len(self), self.models, self.endpoints))
        start = len(_MAGIC) + 4
        header += b" " * (-(start + len(header)) % _ALIGNMENT)
        columns = (getattr(self, name).tobytes() for name in _COLUMNS)
        return b"".join((_MAGIC, len(header).to_bytes(4, "little"), header, *columns))

    @staticmethod
    def from_bytes(data: bytes) -> "LineIndex":
        """The inverse of `to_bytes`, without a copy: the columns are read-only views of `data`.

        Raises ValueError where `data` is no line index, or is cut short.
        """
        if not data.startswith(_MAGIC):
            raise ValueError(f"expected a line index ({_MAGIC!r}), found {data[: len(_MAGIC)]!r}")
        start = len(_MAGIC) + 4
        end = start + int.from_bytes(data[len(_MAGIC) : start], "little")
        header = msgspec.json.decode(data[start:end], type=_Header)
        columns: dict[str, Column] = {}
        for name, (dtype, width) in _COLUMNS.items():
            flat = np.frombuffer(data, dtype, header.lines * width, end)
            columns[name] = _shaped(flat, width)
            end += flat.nbytes
        return LineIndex(header.models, header.endpoints, **columns)


def _shaped(column: Column, width: int) -> Column:
    return column.reshape(-1, width) if width > 1 else column


class _Header(msgspec.Struct, frozen=True):
    lines: int
    models: tuple[str, ...]
    endpoints: tuple[str, ...]


class LineIndexBuilder:
    """Collects rows in file order; 56 bytes each, plus a bounded block of plain rows."""

    def __init__(self) -> None:
        self._blocks: list[dict[str, Column]] = []

    def add(self, rows: Sequence["IndexRow"]) -> None:
        """Append the next rows."""
        self._blocks.append(
            {
                name: _shaped(np.array([getattr(row, name) for row in rows], dtype), width)
                for name, (dtype, width) in _COLUMNS.items()
            }
        )

    def build(self, models: Iterable[str], endpoints: Iterable[str]) -> LineIndex:
        """The index of all rows added."""
        columns: dict[str, Column] = {}
        for name, (dtype, width) in _COLUMNS.items():
            blocks = [block.pop(name) for block in self._blocks]  # freed column by column
            columns[name] = np.concatenate([_shaped(np.empty(0, dtype), width), *blocks])
        return LineIndex(tuple(models), tuple(endpoints), **columns)


@dataclass
class IndexRow:
    """One line while the index is being built; see LineIndex for the columns."""

    offset: int
    length: int
    model: int = 0
    endpoint: int = 0
    prefix: tuple[int, ...] = (0,) * len(PREFIX_DEPTHS)
    prompt_tokens: int = 0
    max_output_tokens: int = 0
    wanted: bool = False
