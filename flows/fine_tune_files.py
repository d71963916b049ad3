"""validate-fine-tune: one attempt at the files of a fine-tuning job, on the cpu pool.

Both datasets are read once, in a child process: every problem into a report, what is left into token files.
Of the counts come the numbers that will run, the price, and whether it fits into a GPU's memory. Then the
training joins the queue, or the job has failed with what is wrong.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prefect import flow, task
from prefect.client.schemas.objects import State
from sqlmodel import Session

from flows.artifacts import show_markdown
from flows.batch import STEP
from flows.fine_tune_attempt import run_attempt
from flows.fine_tune_run import FineTuneRun
from orchestrator.datasets.preparation import PreparedDataset, prepare
from orchestrator.fine_tuning import events, progress
from orchestrator.fine_tuning.machine import machine
from orchestrator.fine_tuning.model import EventLevel, FineTuningJob
from orchestrator.fine_tuning.places import tokens_per_second
from orchestrator.fine_tuning.plan import Plan, Refusal, dataset_spec, plan, refused_by_its_files
from orchestrator.fine_tuning.results import ResultFile
from orchestrator.storage import keys
from orchestrator.storage.transfer import put_file


@flow(name="validate-fine-tune", persist_result=False)
async def validate_fine_tune(fine_tuning_job_id: str, job_id: str, attempt: int) -> State[None]:
    """Read the files of `fine_tuning_job_id` and mirror what came of it in this run's state."""
    return await run_attempt(fine_tuning_job_id, job_id, attempt, _walk)


async def _walk(run: FineTuneRun) -> None:
    await validate(run)
    await show_markdown(summary(await run.refresh()), key=f"{run.job.id}-files")


@task(name="validate", **STEP)
async def validate(run: FineTuneRun) -> None:
    """Turn both files into tokens and numbers, or refuse them."""
    with TemporaryDirectory(dir=run.here.scratch) as name:
        prepared = await _prepare(run, Path(name))
        if isinstance(prepared, Refusal):
            await run.write(partial(_reject, run, prepared, None, None))
            return
        if (refusal := refused_by_its_files(prepared)) is not None:
            report = await _store_report(run, prepared)
            await run.write(partial(_reject, run, refusal, report, None))
            return
        pace = await run.read(lambda tx: tokens_per_second(tx, run.job.base_model))
        planned = await asyncio.to_thread(_plan, run, prepared, pace)
        if planned.refusal is not None:
            await run.write(partial(_reject, run, planned.refusal, None, planned.estimate))
            return
        await _store_tokens(run, "train", prepared.train_tokens)
        if prepared.valid_tokens is not None:
            await _store_tokens(run, "valid", prepared.valid_tokens)
        await run.write(partial(_validated, run, planned, prepared.warnings))


async def _prepare(run: FineTuneRun, folder: Path) -> PreparedDataset | Refusal:
    """Read the files in a child process."""
    store, job, valid = run.here.store, run.job, None
    async with AsyncExitStack() as copies:
        train = await copies.enter_async_context(store.local_copy(run.training_file.key, folder))
        if run.validation_file is not None:
            valid = await copies.enter_async_context(store.local_copy(run.validation_file.key, folder))
        spec = dataset_spec(job.requested, job.method, spec=run.spec, train=train, valid=valid, folder=folder)
        if isinstance(spec, Refusal):
            return spec
        return await run.here.datasets.run(prepare, spec)


def _plan(run: FineTuneRun, prepared: PreparedDataset, pace: float | None) -> Plan:
    """Asks the machine for its memory, which takes a moment."""
    settings = run.here.settings
    return plan(
        run.job.requested,
        run.job.method,
        prepared,
        spec=run.spec,
        price_micros=run.job.price_micros,
        machine=machine(cuda=settings.trains_on_cuda(), memory_gib=settings.training_memory_gib),
        tokens_per_second=pace,
    )


async def _store_report(run: FineTuneRun, prepared: PreparedDataset) -> ResultFile:
    """The complete list of problems as a file to download."""
    key = keys.fine_tuning_result(run.job.organization_id, run.job.id, "report.jsonl")
    stored = await put_file(run.here.store, key, prepared.report, content_type="application/jsonl")
    return ResultFile(key=key, stored=stored, keep_days=run.tier.retention_days)


async def _store_tokens(run: FineTuneRun, kind: keys.Tokens, tokens: Path) -> None:
    await put_file(run.here.store, keys.fine_tuning_tokens(run.job.organization_id, run.job.id, kind), tokens)


def _reject(
    run: FineTuneRun,
    refusal: Refusal,
    report: ResultFile | None,
    estimate: Mapping[str, Any] | None,
    tx: Session,
) -> None:
    progress.rejected(
        tx,
        run.lease,
        code=refusal.code,
        message=refusal.message,
        param=refusal.param,
        report=report,
        estimate=estimate,
    )


def _validated(run: FineTuneRun, planned: Plan, warnings: Sequence[str], tx: Session) -> None:
    for warning in warnings:
        events.say(tx, progress.held(tx, run.lease), warning, level=EventLevel.WARN)
    progress.validated(
        tx,
        run.lease,
        hyperparameters=planned.hyperparameters,
        lora=planned.lora,
        estimate=planned.estimate,
        total_steps=planned.total_steps,
        report=None,
    )


def summary(job: FineTuningJob) -> str:
    """What the files hold and what will run, as a page of Markdown for operators."""
    rows = (job.hyperparameters or {}) | (job.estimate or {}) | (job.error or {})
    lines = [f"| {what} | {value} |" for what, value in rows.items()]
    return "\n".join([f"| {job.id} | {job.status} |", "|---|---|", *lines])
