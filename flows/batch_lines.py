"""The first two steps of a batch: know every line, then have every line answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from msgspec import Raw
from numpy.typing import NDArray

from flows.artifacts import show_progress
from flows.batch_run import BatchRun
from flows.preparing import prepare_batch
from orchestrator import planning
from orchestrator.batches import progress
from orchestrator.batches.line_index import LineIndex
from orchestrator.batches.model import Batch, BatchSegment, OnInvalidLine
from orchestrator.batches.rates import quoted_rates
from orchestrator.batches.result_lines import Kind, LineError, unanswered
from orchestrator.batches.segments import ResultMap, SegmentInfo, SegmentWriter
from orchestrator.batches.states import BatchStatus
from orchestrator.storage import keys
from workers.inference.budget import Budget
from workers.inference.drive import drive as drive_lines

INDEX_BYTES_MAX = 2**30  # 56 bytes a line: some nineteen million lines
SHOW_SECONDS = 2.0


async def validate(run: BatchRun) -> bool:
    """Index every line, or refuse the file. True if there is something to drive or to finish."""
    batch = run.batch
    index_key = keys.batch_lines(batch.organization_id, batch.id)
    if batch.status is not BatchStatus.VALIDATING and await run.here.store.size(index_key):
        return True  # an earlier attempt came further than this
    accepted = await prepare_batch(run)
    await run.refresh()
    return accepted


async def drive(run: BatchRun) -> None:
    """Send what has no result yet; return when all have one, or there is a reason to stop."""
    batch, store = run.batch, run.here.store
    index = await read_index(run)
    await run.learn_models(index.models)
    done = await ResultMap.scan(store, await adopted(run), lines=len(index))
    writer = _writer(run, sequence=0)
    if batch.on_invalid_line is OnInvalidLine.SKIP and batch.report_file_id:
        writer = await _record_bad_lines(run, done, writer)
    todo = done.todo(index.wanted)
    run.orders.budget = await _budget(run, index, todo)  # before anything is asked of engines
    order = {model: lines.tolist() for model, lines in planning.order(index, todo).items()}
    run.orders.remaining.update({model: len(lines) for model, lines in order.items()})
    run.nudge()  # engines are given to who asks
    with TemporaryDirectory(dir=run.here.scratch) as folder:
        async with store.local_copy(run.input_key, Path(folder)) as source, _shown(run):
            await drive_lines(source=source, index=index, order=order, orders=run.orders, segments=writer)
    await run.refresh()


async def _budget(run: BatchRun, index: LineIndex, todo: NDArray[np.int64]) -> Budget:
    """What is adopted is spent; answers are expected to be as long as the quote says."""
    batch = await run.refresh()
    quote = batch.estimate or {}
    return Budget(
        index,
        todo=todo,
        rates=quoted_rates(batch),
        used=batch.usage,
        output_share=quote.get("expected_output_tokens", 0) / max(1, quote.get("worst_output_tokens", 0)),
        on_short=run.nudge,
    )


async def read_index(run: BatchRun) -> LineIndex:
    """The line index that validation has stored."""
    key = keys.batch_lines(run.batch.organization_id, run.batch.id)
    return LineIndex.from_bytes(await run.here.store.get(key, size_max=INDEX_BYTES_MAX))


async def adopted(run: BatchRun) -> list[BatchSegment]:
    """The segments that count, in the order of adoption."""

    def read() -> list[BatchSegment]:
        with run.here.database.read() as tx:
            return progress.segments(tx, run.lease.batch_id)

    return await asyncio.to_thread(read)


def _writer(run: BatchRun, *, sequence: int) -> SegmentWriter:
    """Stores this attempt's segments, and adopts them under its lease."""
    batch, lease = run.batch, run.lease

    async def put(number: int, data: bytes) -> str:
        key = keys.segment(batch.organization_id, batch.id, lease.attempt, number)
        await run.here.store.put(key, data)
        return key

    def adopt_row(segment: SegmentInfo) -> Batch:
        with run.here.database.transaction() as tx:
            return progress.adopt(tx, lease, segment)

    async def adopt(segment: SegmentInfo) -> None:
        run.seen(await run.while_leased(partial(adopt_row, segment)))

    return SegmentWriter(put, adopt, sequence=sequence)


class _Problem(msgspec.Struct):
    """What of a line of the validation report becomes an error line."""

    line: int | None
    custom_id: Raw
    code: str
    message: str


async def _record_bad_lines(run: BatchRun, done: ResultMap, writer: SegmentWriter) -> SegmentWriter:
    """Lines that validation refused get their first problem as result; the writer to go on with."""
    storing = asyncio.create_task(writer.run())
    recorded: set[int] = set()
    async for problem in _report(run):
        number = -1 if problem.line is None else problem.line - 1
        if number < 0 or done.kind[number] or number in recorded:
            continue
        recorded.add(number)
        error = LineError(problem.code, problem.message)
        await writer.add(number, Kind.ERROR, unanswered(problem.custom_id, error), model="")
    writer.close()
    await storing
    return _writer(run, sequence=writer.sequence)


async def _report(run: BatchRun) -> AsyncIterator[_Problem]:
    key = keys.batch_result(run.batch.organization_id, run.batch.id, "report")
    tail = b""
    async for chunk in run.here.store.get_stream(key):
        *lines, tail = (tail + chunk).split(b"\n")
        for line in lines:
            yield msgspec.json.decode(line, type=_Problem)


@asynccontextmanager
async def _shown(run: BatchRun) -> AsyncIterator[None]:
    """Keep the run's progress artifact in Prefect up to date while the block runs."""
    showing = asyncio.create_task(_show(run))
    try:
        yield
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


async def _show(run: BatchRun) -> None:
    """Only what has changed: each update costs Prefect's server 25 ms, and hundreds of batches may run."""
    artifact, shown = None, ""
    while True:
        batch = run.batch
        done = batch.request_completed + batch.request_failed
        rate = run.rate()
        pace = f", {rate['lines_per_second']:.0f} lines/s" if rate else ""
        description = f"{done} of {batch.request_total} lines{pace}"
        if description != shown:
            percent = 100 * done / max(1, batch.request_total)
            artifact = await show_progress(artifact, percent, description, key=batch.id)
            shown = description
        await asyncio.sleep(SHOW_SECONDS)
