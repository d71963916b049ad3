"""What a fine-tuning job would be, before there is any."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import APIRouter

from api.auth import Caller
from api.deps import YardDep
from api.reports import store_report
from api.schemas.fine_tuning_estimates import FineTuningEstimate
from api.schemas.new_fine_tuning import NewFineTuningJob
from api.yard import Yard
from orchestrator.datasets.preparation import PreparedDataset, prepare
from orchestrator.errors import Invalid, Unavailable
from orchestrator.files.model import Purpose
from orchestrator.fine_tuning.admission import Admitted, NewFineTuning, admit
from orchestrator.fine_tuning.machine import machine
from orchestrator.fine_tuning.places import tokens_per_second
from orchestrator.fine_tuning.plan import Plan, Refusal, dataset_spec, plan, refused_by_its_files
from orchestrator.metering.price_lists import training_price_now
from orchestrator.organizations.principal import Principal

PARALLEL_MAX = 1  # of one organization; all share one child process

router = APIRouter(tags=["Fine-tuning"])


@router.post("/fine_tuning/jobs/estimate")
async def estimate_fine_tuning_job(
    body: NewFineTuningJob, yard: YardDep, caller: Caller
) -> FineTuningEstimate:
    """Read the files of a job as it would, and say what it would take: every bad example, tokens, steps,
    price, duration, and memory needed against memory there. Takes the body of a new job and creates none.
    Large files take a while."""
    with yard.dataset_slots.take(caller.organization_id, limit=PARALLEL_MAX):
        admitted = await asyncio.to_thread(_admit, yard, caller, body.asked())
        async with _prepared(yard, admitted) as prepared:
            report = None
            if prepared.problems:
                report = await store_report(
                    yard,
                    caller,
                    prepared.report,
                    about=admitted.training_file.id,
                    purpose=Purpose.FINE_TUNE_RESULTS,
                )
            planned = await asyncio.to_thread(_plan, yard, caller, admitted, prepared)
            return FineTuningEstimate.of(
                admitted.spec.id,
                prepared,
                refusal=refused_by_its_files(prepared) or (planned.refusal if planned else None),
                planned=planned,
                report_file=report,
            )


@asynccontextmanager
async def _prepared(yard: Yard, admitted: Admitted) -> AsyncIterator[PreparedDataset]:
    """What the files hold; the report is there as long as the block runs."""
    async with AsyncExitStack() as copies:
        folder = Path(copies.enter_context(TemporaryDirectory(dir=yard.scratch)))
        files = [file for file in (admitted.training_file, admitted.validation_file) if file is not None]
        train, *valid = [
            await copies.enter_async_context(yard.store.local_copy(file.key, folder)) for file in files
        ]
        spec = dataset_spec(
            admitted.requested,
            admitted.method,
            spec=admitted.spec,
            train=train,
            valid=next(iter(valid), None),
            folder=folder,
        )
        if isinstance(spec, Refusal):
            raise Invalid(spec.message, code=spec.code, param=spec.param)
        try:
            prepared = await yard.datasets.run(prepare, spec)
        except BrokenProcessPool:
            raise Unavailable("The process that reads datasets died; try again.") from None
        yield prepared


def _admit(yard: Yard, caller: Principal, asked: NewFineTuning) -> Admitted:
    """What the request means, by the rules of a new job, but for how many there may be at once."""
    with yard.database.read() as tx:
        return admit(
            tx,
            asked,
            organization_id=caller.organization_id,
            tier=yard.tier(caller),
            tiers=yard.tiers,
            registry=yard.registry,
        )


def _plan(yard: Yard, caller: Principal, admitted: Admitted, prepared: PreparedDataset) -> Plan | None:
    """The training of those examples that can be learnt from, None where there are none."""
    if not prepared.train.examples:
        return None
    settings = yard.settings
    with yard.database.read() as tx:
        pace = tokens_per_second(tx, admitted.spec.id)
        price_micros = training_price_now(
            tx,
            yard.registry.prices(),
            organization_id=caller.organization_id,
            model=admitted.spec.id,
            factor=yard.tier(caller).training_price_factor,
        )
    return plan(
        admitted.requested,
        admitted.method,
        prepared,
        spec=admitted.spec,
        price_micros=price_micros,
        machine=machine(cuda=settings.trains_on_cuda(), memory_gib=settings.training_memory_gib),
        tokens_per_second=pace,
    )
