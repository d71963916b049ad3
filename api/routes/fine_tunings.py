"""Adapters that customers bring: a ZIP becomes a model that batches can name. Groq's form of it."""

import asyncio

from fastapi import APIRouter

from api.auth import Caller
from api.deps import Read, Transaction, YardDep
from api.schemas.fine_tunings import CreateFineTuning, FineTuningFacts, FineTuningList, FineTuningObject
from api.schemas.wire import Deleted
from api.yard import Yard
from orchestrator import ids
from orchestrator.adapters import intake
from orchestrator.adapters import service as adapters
from orchestrator.adapters.model import Adapter, Origin
from orchestrator.adapters.names import check_suffix
from orchestrator.errors import Invalid, NotFound
from orchestrator.files import service as files
from orchestrator.files.model import File, Purpose
from orchestrator.models.registry import ModelSpec
from orchestrator.organizations import service as organizations
from orchestrator.organizations.principal import Principal
from orchestrator.storage.store import ObjectMissing

PARALLEL_MAX = 1  # of one organization: an import takes a thread, and the disk that the adapter needs

router = APIRouter(tags=["Fine-tuning"])


@router.post("/fine_tunings")
async def import_adapter(body: CreateFineTuning, yard: YardDep, caller: Caller) -> FineTuningObject:
    """Bring a LoRA adapter: an uploaded ZIP (purpose `fine_tuning`) of exactly `adapter_model.safetensors`
    and `adapter_config.json`, as PEFT saves them. It is checked against the base model, and can be named in
    batches at once."""
    spec = intake.base_model(
        body.base_model,
        registry=yard.registry.seen_by(caller.organization_id),
        tiers=yard.tiers,
        tier=yard.tier(caller),
    )
    if body.name is not None:
        check_suffix(body.name, param="name")
    with yard.import_slots.take(caller.organization_id, limit=PARALLEL_MAX):
        file = await asyncio.to_thread(_load_file, yard, caller, body.input_file_id)
        adapter = await _import(yard, caller, spec, file, body.name)
    return FineTuningObject.of(adapter)


@router.get("/fine_tunings")
def list_imports(tx: Read, caller: Caller) -> FineTuningList:
    """The adapters that your organization has brought, newest first."""
    found = adapters.list_imported(tx, organization_id=caller.organization_id)
    return FineTuningList(data=[FineTuningFacts.of(adapter) for adapter in found])


@router.get("/fine_tunings/{import_id}")
def retrieve_import(import_id: str, tx: Read, caller: Caller) -> FineTuningObject:
    """One adapter that your organization has brought."""
    found = adapters.imported(tx, organization_id=caller.organization_id, import_id=import_id)
    return FineTuningObject.of(found)


@router.delete("/fine_tunings/{import_id}")
def delete_import(import_id: str, tx: Transaction, caller: Caller) -> Deleted:
    """Delete an adapter that your organization has brought, and its model with it. Batches that name it
    already go on to their end."""
    found = adapters.imported(tx, organization_id=caller.organization_id, import_id=import_id)
    adapters.delete(tx, organization_id=caller.organization_id, adapter_id=found.id)
    return Deleted(id=import_id, object="fine_tuning")


async def _import(yard: Yard, caller: Principal, spec: ModelSpec, file: File, name: str | None) -> Adapter:
    """Files first, then the row."""
    import_id = ids.new("ft_")
    try:
        stored, card = await intake.take_in(
            yard.store,
            file.key,
            organization_id=caller.organization_id,
            import_id=import_id,
            file_id=file.id,
            spec=spec,
            bytes_max=yard.tier(caller).upload_bytes_max,
            scratch=yard.scratch,
        )
    except ObjectMissing:
        raise _no_file(file.id) from None

    def publish() -> Adapter:
        with yard.database.transaction() as tx:
            return adapters.publish(
                tx,
                organization=organizations.get(tx, caller.organization_id),
                project_id=caller.project_id,
                base_model=spec.id,
                origin=Origin.IMPORTED,
                source_id=import_id,
                name=name,
                suffix=name,
                files=stored,
                card=card,
            )

    return await asyncio.to_thread(publish)


def _load_file(yard: Yard, caller: Principal, file_id: str) -> File:
    with yard.database.read() as tx:
        try:
            file = files.get(tx, organization_id=caller.organization_id, file_id=file_id)
        except NotFound:
            raise _no_file(file_id) from None
    if file.purpose is not Purpose.FINE_TUNING:
        raise Invalid(
            f"File {file.id} has purpose '{file.purpose}'; an adapter needs purpose 'fine_tuning'. Upload it "
            "again with that.",
            param="input_file_id",
        )
    return file


def _no_file(file_id: str) -> Invalid:
    return Invalid(
        f"The file {file_id[:64]} does not exist, was deleted or has expired, or your organization does not "
        "have access to it.",
        param="input_file_id",
    )
