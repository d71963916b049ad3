"""The two result files of a batch, in the order of its input, streamed.

Every line that was to run is in exactly one of them, exactly once: where it has a result, there;
otherwise in the error file, with the reason why it never ran.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.batches.result_lines import Kind, LineError, Requests, unanswered
from orchestrator.batches.segments import ResultMap

PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Unrun:
    """Lines that were to run and never did: which those are, if they have no result, and why."""

    wanted: NDArray[np.bool_]
    requests: Requests
    error: LineError

    def line(self, number: int) -> bytes:
        """The error line, without its newline, of a line (from 0)."""
        return unanswered(self.requests[number].custom_id, self.error)


async def merge(
    kind: Kind, results: ResultMap, segments: Path, *, unrun: Unrun | None = None
) -> AsyncIterator[bytes]:
    """One result file in pieces of about PIECE_BYTES, read in a thread; nothing if it has no lines.

    `segments` is the file to which `ResultMap.scan` copied them. With `unrun`, which goes with the
    error file, the wanted lines without a result are in it.
    """
    pieces = _pieces(kind, results, segments, unrun)
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece


def _pieces(kind: Kind, results: ResultMap, segments: Path, unrun: Unrun | None) -> Iterator[bytes]:
    ours = results.kind == results.KINDS.index(kind)
    if unrun is not None:
        ours |= (results.kind == 0) & unrun.wanted
    fd = os.open(segments, os.O_RDONLY | os.O_CLOEXEC)
    try:
        piece = bytearray()
        for line in np.flatnonzero(ours).tolist():
            if results.kind[line] or unrun is None:
                piece += os.pread(fd, int(results.length[line]), int(results.offset[line]))
            else:
                piece += unrun.line(line)
            piece += b"\n"
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)
    finally:
        os.close(fd)
