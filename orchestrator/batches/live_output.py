"""A batch's results so far, in the order in which they were stored.

That order only ever grows at its end, so a line's place in it is a cursor: whoever has read n lines
asks for what comes after n, and neither misses nor repeats a line, whatever runs or dies meanwhile.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from orchestrator.batches.model import Batch, BatchSegment
from orchestrator.batches.states import FINAL
from orchestrator.errors import Conflict, Invalid
from orchestrator.storage.store import ObjectStore


@dataclass(frozen=True)
class LiveOutput:
    """The segments that hold the lines after the cursor. `skip` lines of the first are before it;
    `last_line` is the next cursor."""

    segment_keys: Sequence[str]
    skip: int
    last_line: int


def locate(tx: Session, batch: Batch, *, after: int) -> LiveOutput:
    """Where the lines after the first `after` are. Raises Invalid for a cursor beyond the end, and
    Conflict once the segments of a finished batch are gone: its result files have everything."""
    rows = tx.exec(
        select(BatchSegment)
        .where(BatchSegment.batch_id == batch.id)
        .order_by(col(BatchSegment.attempt), col(BatchSegment.sequence))
    ).all()
    if not rows and batch.status in FINAL and (batch.output_file_id or batch.error_file_id):
        raise Conflict(
            f"Batch {batch.id} is {batch.status} and its partial results are no longer kept. Read "
            f"its result files: output_file_id {batch.output_file_id}, "
            f"error_file_id {batch.error_file_id}."
        )
    lines_before = skip = 0
    wanted: list[str] = []
    for row in rows:
        lines_through = lines_before + row.completed + row.failed
        if lines_through > after:
            skip = skip if wanted else after - lines_before
            wanted.append(row.key)
        lines_before = lines_through
    if after > lines_before:
        raise Invalid(
            f"Batch {batch.id} has {lines_before} result lines so far; after={after} is beyond "
            "them. Pass the x-last-line of an earlier answer.",
            param="after",
        )
    return LiveOutput(wanted, skip, lines_before)


async def read(store: ObjectStore, output: LiveOutput) -> AsyncIterator[bytes]:
    """The lines, each an OpenAI output line with its newline, in pieces of about a chunk of the
    store.

    Raises ObjectMissing if the segments are swept meanwhile.
    """
    skip = output.skip
    for key in output.segment_keys:
        tail = b""
        async for chunk in store.get_stream(key):
            *lines, tail = (tail + chunk).split(b"\n")
            results = b"".join(_result(line) for line in lines[skip:])
            skip = max(0, skip - len(lines))
            if results:
                yield results


def _result(segment_line: bytes) -> bytes:
    """`<line number>\\t<output|error>\\t<JSON>` without what only the merge needs."""
    return segment_line.split(b"\t", 2)[2] + b"\n"
