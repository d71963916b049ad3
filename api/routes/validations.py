"""A file's whole validation and its quote, before any batch exists."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import APIRouter

from api.auth import Caller
from api.deps import YardDep
from api.reports import store_report
from api.routes.files import load_file
from api.schemas.validations import FileValidation
from api.yard import Yard
from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches import quote_book
from orchestrator.batches.estimate import estimate
from orchestrator.batches.named_models import named_in
from orchestrator.batches.preparation import Preparation, prepare
from orchestrator.batches.preparation_spec import preparation_spec
from orchestrator.batches.rates import rates_now
from orchestrator.errors import Invalid, Unavailable
from orchestrator.files.model import File, Purpose
from orchestrator.organizations.principal import Principal

PARALLEL_MAX = 1  # of one organization; all share one child process

router = APIRouter(tags=["Files"])


@router.post("/files/{file_id}/validate")
async def validate_file(file_id: str, yard: YardDep, caller: Caller) -> FileValidation:
    """Check every line of a batch file, count its tokens, and say what a batch of it would cost and
    when it would be done. Creates no batch. A file of many lines takes a while."""
    with yard.preparation_slots.take(caller.organization_id, limit=PARALLEL_MAX):
        file = await asyncio.to_thread(load_file, yard, caller, file_id)
        if file.purpose is not Purpose.BATCH:
            raise Invalid(
                f"File {file.id} has purpose '{file.purpose}'; only one with purpose 'batch' can "
                "be validated."
            )
        named = await asyncio.to_thread(_named, yard, file)
        async with _prepared(yard, caller, file, named) as prepared:
            report = None
            if prepared.first_problems:
                report = await store_report(
                    yard, caller, prepared.report, about=file.id, purpose=Purpose.BATCH_OUTPUT
                )
            quote = await asyncio.to_thread(_quote, yard, caller, file, prepared, named)
            return FileValidation.of(file.id, prepared, report_file_id=report, quote=quote)


def _named(yard: Yard, file: File) -> dict[str, ServedModel]:
    with yard.database.read() as tx:
        return named_in(tx, yard.registry, file)


@asynccontextmanager
async def _prepared(
    yard: Yard, caller: Principal, file: File, named: dict[str, ServedModel]
) -> AsyncIterator[Preparation]:
    """The file's preparation, whose files are there as long as the block runs."""
    with TemporaryDirectory(dir=yard.scratch) as name:
        folder = Path(name)
        async with yard.store.local_copy(file.key, folder) as source:
            spec = preparation_spec(
                source=source,
                folder=folder,
                registry=yard.registry,
                organization_id=caller.organization_id,
                named=named,
                tiers=yard.tiers,
                tier=yard.tier(caller),
            )
            try:
                prepared = await yard.preparations.run(prepare, spec)
            except BrokenProcessPool:
                raise Unavailable("The process that validates files died; try again.") from None
        yield prepared


def _quote(
    yard: Yard, caller: Principal, file: File, prepared: Preparation, named: dict[str, ServedModel]
) -> dict[str, Any]:
    tier = yard.tier(caller)
    with yard.database.transaction() as tx:
        rates = rates_now(
            tx,
            yard.registry,
            named,
            organization_id=caller.organization_id,
            discount=tier.batch_discount,
        )
        quoted = estimate(
            tx,
            prepared.models,
            named=named,
            rates=rates,
            tiers=yard.tiers,
            tier=tier,
            organization_id=caller.organization_id,
        )
        models = list(prepared.models)
        only = models[0] if len(models) == 1 else None
        quote_book.keep(tx, quoted, file=file, project_id=caller.project_id, model=only)
        return quoted
