"""A dataset as tokens, in one file that a trainer maps into memory: what was counted is what is trained.

    8 bytes    b"YARDTOK1"
    u64        n, the number of sequences
    u64[n]     where each sequence ends, in tokens
    u32[t]     the token ids of all sequences, one after the other
    u8[t]      1 for each token that is to be learnt, 0 for one that is only read

Little-endian. Written in one pass and constant memory, so the parts come from temporary files beside it.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

MAGIC = b"YARDTOK1"
SUMMED_SEQUENCES = 256  # at once


@dataclass(frozen=True)
class TokenSequence:
    """One sequence: `ids` (u32) and `learn` (u8) have the same length."""

    ids: npt.NDArray[np.uint32]
    learn: npt.NDArray[np.uint8]


class TokenFileWriter:
    """Writes `path`; it is there, whole, once the block has ended without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts = [path.with_name(f"{path.name}.{part}") for part in ("ends", "ids", "learn")]
        self._count = self._tokens = 0

    def __enter__(self) -> Self:
        self._ends, self._ids, self._learn = (part.open("wb") for part in self._parts)
        return self

    def add(self, ids: Sequence[int], learn: Sequence[int]) -> None:
        """One more sequence. Raises ValueError where it is empty or the lengths differ."""
        if not ids or len(ids) != len(learn):
            raise ValueError(f"expected as many marks as tokens, and some; found {len(learn)} and {len(ids)}")
        self._ids.write(np.asarray(ids, "<u4").tobytes())
        self._learn.write(np.asarray(learn, "u1").tobytes())
        self._count += 1
        self._tokens += len(ids)
        self._ends.write(self._tokens.to_bytes(8, "little"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._ends, self._ids, self._learn):
            file.close()
        try:
            if kind is None:
                self._join()
        finally:
            for part in self._parts:
                part.unlink()

    def _join(self) -> None:
        with self._path.open("wb") as whole:
            whole.write(MAGIC + self._count.to_bytes(8, "little"))
            for part in self._parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, whole, 1 << 20)


class TokenFile:
    """Reads one. The tokens stay on the disk until they are asked for; `lengths` and `learnt` (tokens to
    learn, not counting a first token, which nothing predicts) are arrays of one number a sequence."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError where `path` is no token file."""
        with path.open("rb") as file:
            head = file.read(16)
            if head[:8] != MAGIC or len(head) < 16:
                raise ValueError(f"{path} is no token file")
            count = int(np.frombuffer(head[8:], "<u8")[0])
            self._ends = np.frombuffer(file.read(8 * count), "<u8").astype(np.int64)
        tokens = int(self._ends[-1]) if count else 0
        start = 16 + 8 * count
        if path.stat().st_size != start + 5 * tokens:
            raise ValueError(f"{path} is cut off: {tokens} tokens need {start + 5 * tokens} bytes")
        self._ids = np.memmap(path, "<u4", "r", start, (tokens,)) if tokens else np.zeros(0, "<u4")
        self._learn = (
            np.memmap(path, "u1", "r", start + 4 * tokens, (tokens,)) if tokens else np.zeros(0, "u1")
        )
        starts = np.concatenate(([0], self._ends[:-1])) if count else np.zeros(0, np.int64)
        self._starts = starts.astype(np.int64)
        self.lengths: npt.NDArray[np.int64] = self._ends - self._starts
        self.learnt = self._count_learnt()

    def __len__(self) -> int:
        return len(self._ends)

    def _count_learnt(self) -> npt.NDArray[np.int64]:
        """By a few sequences at a time: numpy widens each mark to 8 bytes before it adds them."""
        learnt = np.zeros(len(self), np.int64)
        for first in range(0, len(self), SUMMED_SEQUENCES):
            those = slice(first, first + SUMMED_SEQUENCES)
            begin, end = self._starts[first], self._ends[those][-1]
            learnt[those] = np.add.reduceat(
                self._learn[begin:end], self._starts[those] - begin, dtype=np.int64
            )
        learnt -= self._learn[self._starts]
        return learnt

    def __getitem__(self, number: int) -> TokenSequence:
        """The sequence of that number, from 0. Raises IndexError."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        start, end = int(self._starts[number]), int(self._ends[number])
        return TokenSequence(np.asarray(self._ids[start:end]), np.asarray(self._learn[start:end]))
