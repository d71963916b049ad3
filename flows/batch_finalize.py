"""The last step of a batch: segments become result files, and the batch its final status."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from flows.batch_lines import adopted, read_index
from flows.batch_run import BatchRun
from orchestrator.batches import finalize as ending
from orchestrator.batches.line_index import LineIndex
from orchestrator.batches.merge import Unrun, merge
from orchestrator.batches.progress import STOP_MESSAGES, Stop
from orchestrator.batches.result_files import ResultFile
from orchestrator.batches.result_lines import Kind, LineError, open_requests
from orchestrator.batches.segments import ResultMap
from orchestrator.storage import keys


class ResultsIncomplete(Exception):
    """The result files would not hold every line once: nothing may be charged or called finished."""


async def finalize(run: BatchRun) -> None:
    """Merge, store, charge, and set the final status."""
    stop = run.stop
    if stop is None and not await run.while_leased(partial(_driven, run)):
        stop = Stop.CANCELLED  # asked for between the last heartbeat and now
    index = await read_index(run)
    with TemporaryDirectory(dir=run.here.scratch) as name:
        folder = Path(name)
        segments = folder / "segments"
        with segments.open("wb") as copy:
            results = await ResultMap.scan(run.here.store, await adopted(run), lines=len(index), copy=copy)
        async with run.here.store.local_copy(run.input_key, folder) as source:
            with open_requests(source, index) as requests:
                unrun = Unrun(index.wanted, requests, _why(stop))
                output = await _store(run, Kind.OUTPUT, results, segments, None)
                error = await _store(run, Kind.ERROR, results, segments, unrun)
    await _store_unfinished(run, index, results)
    _require_all(run, output, error)
    await run.while_leased(partial(_finish, run, stop, output, error))


def _driven(run: BatchRun) -> bool:
    with run.here.database.transaction() as tx:
        return ending.driven(tx, run.lease)


def _why(stop: Stop | None) -> LineError:
    """What the error line of a line that never ran says. Without a stop there is no such line."""
    stop = stop or Stop.CANCELLED
    return LineError(stop.value, STOP_MESSAGES[stop])


async def _store(
    run: BatchRun, kind: Kind, results: ResultMap, segments: Path, unrun: Unrun | None
) -> ResultFile | None:
    """Stream one merged result into the store; None where it has no lines."""
    lines = results.lines(kind)
    if unrun is not None:
        lines += len(results.todo(unrun.wanted))
    if not lines:
        return None
    key = keys.batch_result(run.batch.organization_id, run.batch.id, kind.value)
    stored = await run.here.store.put_stream(key, merge(kind, results, segments, unrun=unrun))
    return ResultFile(key=key, stored=stored, lines=lines, keep_days=run.tier.retention_days)


async def _store_unfinished(run: BatchRun, index: LineIndex, results: ResultMap) -> None:
    """The numbers of the lines that a retry would run: all that were meant to and have no output."""
    without = (results.kind != results.KINDS.index(Kind.OUTPUT)) & (index.wanted | (results.kind != 0))
    numbers = (np.flatnonzero(without) + 1).tolist()
    key = keys.batch_unfinished(run.batch.organization_id, run.batch.id)
    listed = "".join(f"{number}\n" for number in numbers)
    await run.here.store.put(key, listed.encode(), content_type="text/plain")


def _require_all(run: BatchRun, output: ResultFile | None, error: ResultFile | None) -> None:
    """Every line that was to run is in one of the two files, and what will be charged are those with an
    answer."""
    found = sum(file.lines for file in (output, error) if file)
    if found != run.batch.request_total:
        raise ResultsIncomplete(
            f"{run.batch.id}: {found} lines in the result files, {run.batch.request_total} expected"
        )
    answers, charged = output.lines if output else 0, sum(used["lines"] for used in run.batch.usage.values())
    if answers != charged:
        raise ResultsIncomplete(f"{run.batch.id}: {answers} answers, and {charged} lines to charge")


def _finish(run: BatchRun, stop: Stop | None, output: ResultFile | None, error: ResultFile | None) -> None:
    with run.here.database.transaction() as tx:
        ending.finish(
            tx,
            run.lease,
            stop=stop,
            words=run.stop_words,
            output=output,
            error=error,
        )
