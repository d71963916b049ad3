"""The two result files of a batch, in the order of its input, streamed.

Every line of the input is in exactly one of them, exactly once: where it has a result, there;
otherwise in the error file, with the reason why it never ran.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from orchestrator.batches.line_index import LineIndex
from orchestrator.batches.problems import LineProblem
from orchestrator.batches.result_lines import Kind, LineError, Requests, unanswered
from orchestrator.batches.segments import ResultMap

PIECE_BYTES = 2**20

Unrun = Callable[[int], bytes]
"""The error line, without its newline, for a line (from 0) that never ran."""


def unrun_lines(
    index: LineIndex, requests: Requests, error: LineError, problems: Mapping[int, LineProblem]
) -> Unrun:
    """`error` for the lines that were to run, and for the bad ones what is wrong with them.

    `problems` has one for each line (from 1) that is not wanted.
    """

    def unrun(line: int) -> bytes:
        if index.wanted[line]:
            return unanswered(requests[line].custom_id, error)
        problem = problems[line + 1]
        custom_id = msgspec.Raw(msgspec.json.encode(problem.custom_id))
        return unanswered(custom_id, LineError(problem.code, problem.message))

    return unrun


async def merge(
    kind: Kind, results: ResultMap, segments: Path, *, unrun: Unrun | None = None
) -> AsyncIterator[bytes]:
    """One result file in pieces of about PIECE_BYTES, read in a thread; nothing if it has no lines.

    `segments` is the file to which `ResultMap.scan` copied them. With `unrun`, which goes with the
    error file, lines without a result are in it.
    """
    pieces = _pieces(kind, results, segments, unrun)
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece


def _pieces(kind: Kind, results: ResultMap, segments: Path, unrun: Unrun | None) -> Iterator[bytes]:
    ours = results.kind == results.KINDS.index(kind)
    if unrun is not None:
        ours |= results.kind == 0
    fd = os.open(segments, os.O_RDONLY | os.O_CLOEXEC)
    try:
        piece = bytearray()
        for line in np.flatnonzero(ours).tolist():
            if results.kind[line] or unrun is None:
                piece += os.pread(fd, int(results.length[line]), int(results.offset[line]))
            else:
                piece += unrun(line)
            piece += b"\n"
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)
    finally:
        os.close(fd)
