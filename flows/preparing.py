"""Validation of one batch: `orchestrator.batches.preparation` in a child process, and what comes of it."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.batch_run import BatchRun
from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches import progress, quote_book
from orchestrator.batches.estimate import estimate
from orchestrator.batches.model import OnInvalidLine
from orchestrator.batches.named_models import named_in
from orchestrator.batches.preparation import Preparation, prepare
from orchestrator.batches.preparation_spec import preparation_spec
from orchestrator.batches.problems import LineProblem
from orchestrator.batches.rates import rates_now
from orchestrator.batches.result_files import ResultFile
from orchestrator.files.model import File
from orchestrator.storage import keys
from orchestrator.storage.store import ObjectMissing

UNFINISHED_BYTES_MAX = 2**28  # decimal line numbers, one a line


async def prepare_batch(run: BatchRun) -> bool:
    """Check and index every line; False if the file was refused and the batch has failed with it."""
    here, batch = run.here, run.batch
    with TemporaryDirectory(dir=here.scratch) as name:
        folder = Path(name)
        only = await _only_lines(run)
        named = await asyncio.to_thread(_named, run)
        async with here.store.local_copy(run.input_key, folder) as source:
            spec = preparation_spec(
                source=source,
                folder=folder,
                registry=here.registry,
                organization_id=batch.organization_id,
                named=named,
                tiers=here.tiers,
                tier=run.tier,
                only_lines=only,
            )
            prepared = await here.preparations.run(prepare, spec)
        report = await _store_report(run, prepared)
        errors = [_batch_error(problem) for problem in prepared.first_problems] or None
        fatal = any(problem.line is None for problem in prepared.first_problems)
        if errors and (fatal or batch.on_invalid_line is OnInvalidLine.FAIL):
            await asyncio.to_thread(_reject, run, errors, report)
            return False
        index_key = keys.batch_lines(batch.organization_id, batch.id)
        await here.store.put(index_key, prepared.index.read_bytes(), content_type="application/octet-stream")
    await asyncio.to_thread(_validated, run, prepared, named, errors, report)
    return True


def _named(run: BatchRun) -> dict[str, ServedModel]:
    with run.here.database.read() as tx:
        return named_in(tx, run.here.registry, tx.get_one(File, run.batch.input_file_id))


async def _only_lines(run: BatchRun) -> frozenset[int] | None:
    """For a retry, the lines its predecessor has no successful result for; None: every line.

    A predecessor that gave up before it could say which lines those are is done again as a whole.
    """
    if run.batch.retry_of is None:
        return None
    key = keys.batch_unfinished(run.batch.organization_id, run.batch.retry_of)
    try:
        listed = await run.here.store.get(key, size_max=UNFINISHED_BYTES_MAX)
    except ObjectMissing:
        return None
    return frozenset(int(line) for line in listed.split())


async def _store_report(run: BatchRun, prepared: Preparation) -> ResultFile | None:
    """The complete list of problems as a file to download; None where there are none."""
    if not prepared.first_problems:
        return None
    key = keys.batch_result(run.batch.organization_id, run.batch.id, "report")
    stored = await run.here.store.put(key, prepared.report.read_bytes())
    return ResultFile(key=key, stored=stored, lines=prepared.bad_lines, keep_days=run.tier.retention_days)


def _batch_error(problem: LineProblem) -> dict[str, Any]:
    """A problem as OpenAI's batch object carries it, with what we know beyond that."""
    return {
        "code": str(problem.code),
        "line": problem.line,
        "message": problem.message,
        "param": problem.param,
        "custom_id": problem.custom_id,
        "path": problem.path,
    }


def _reject(run: BatchRun, errors: list[dict[str, Any]], report: ResultFile | None) -> None:
    with run.here.database.transaction() as tx:
        progress.rejected(tx, run.lease, errors=errors, report=report)


def _validated(
    run: BatchRun,
    prepared: Preparation,
    named: dict[str, ServedModel],
    errors: list[dict[str, Any]] | None,
    report: ResultFile | None,
) -> None:
    models = sorted(prepared.models)
    with run.here.database.transaction() as tx:
        rates = rates_now(
            tx,
            run.here.registry,
            named,
            organization_id=run.batch.organization_id,
            discount=run.tier.batch_discount,
        )
        quoted = estimate(
            tx,
            prepared.models,
            named=named,
            rates=rates,
            tiers=run.here.tiers,
            tier=run.tier,
            organization_id=run.batch.organization_id,
            batch_id=run.batch.id,
        )
        only = models[0] if len(models) == 1 else None
        quote_book.keep(
            tx,
            quoted,
            file=tx.get_one(File, run.batch.input_file_id),
            project_id=run.batch.project_id,
            model=only,
            batch_id=run.batch.id,
        )
        progress.validated(
            tx,
            run.lease,
            total=prepared.wanted_lines + prepared.bad_lines,
            model=only,
            errors=errors,
            estimate=quoted,
            rates=rates,
            report=report,
        )
