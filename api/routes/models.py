"""Models: the base models that the caller's tier may use, and the adapters over them that are its own or
shared. Others do not exist for it."""

import asyncio
import re

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from api.auth import Caller
from api.deps import Read, Transaction, YardDep
from api.schemas.models import ChangeModel, ModelList, ModelObject
from api.schemas.wire import Deleted
from api.yard import Yard
from orchestrator.adapters import archive, catalog
from orchestrator.adapters import service as adapters
from orchestrator.adapters.catalog import ServedModel
from orchestrator.adapters.model import CONFIG, WEIGHTS, Adapter
from orchestrator.errors import NotEntitled
from orchestrator.metering import price_lists
from orchestrator.metering.prices import Prices
from orchestrator.organizations.principal import Principal
from orchestrator.storage import keys

router = APIRouter(tags=["Models"])


@router.get("/models")
def list_models(tx: Read, yard: YardDep, caller: Caller) -> ModelList:
    """The models that your batches may name, with their prices: base models, then your own adapters and
    those that are shared with you, newest first."""
    tier = yard.tier(caller)
    prices = _prices(tx, yard, caller)
    bases = {
        spec.id: ModelObject.of(spec, yard.registry, prices[spec.id])
        for spec in yard.registry.seen_by(caller.organization_id).all()
        if tier.permits(spec.id)
    }
    found = [
        ModelObject.fine_tuned(bases[adapter.base_model], adapter, organization_id=caller.organization_id)
        for adapter in adapters.list_visible(tx, organization_id=caller.organization_id)
        if adapter.base_model in bases and bases[adapter.base_model].fine_tunable
    ]
    return ModelList(data=[*bases.values(), *found])


@router.get("/models/{model:path}/content", response_class=Response)
async def model_content(model: str, yard: YardDep, caller: Caller) -> Response:
    """A fine-tuned model of yours, as a ZIP of the two files that PEFT loads:
    `adapter_model.safetensors` and `adapter_config.json`."""

    def load() -> Adapter:
        with yard.database.read() as tx:
            return adapters.own(tx, organization_id=caller.organization_id, adapter_id=model)

    adapter = await asyncio.to_thread(load)
    files = []
    for name in (CONFIG, WEIGHTS):
        key = keys.adapter_file(adapter.key_prefix, name)
        size = await yard.store.size(key)
        if size is None:
            raise adapters.unknown(model)  # deleted just now
        files.append(archive.Packed(name, size, yard.store.get_stream(key)))
    filename = re.sub(r"[^A-Za-z0-9_.-]+", "-", adapter.id) + ".zip"
    return StreamingResponse(
        archive.pack(files, modified_at=adapter.created_at),
        headers={"content-disposition": f'attachment; filename="{filename}"'},
        media_type="application/zip",
    )


@router.get("/models/{model:path}")
def retrieve_model(model: str, tx: Read, yard: YardDep, caller: Caller) -> ModelObject:
    """One model. Of an adapter of yours with its model card: base, rank, data, numbers, seed, metrics."""
    served = _served(tx, yard, caller, model)
    base = ModelObject.of(served.spec, yard.registry, _prices(tx, yard, caller)[served.base])
    if served.adapter is None:
        return base
    return ModelObject.fine_tuned(
        base, served.adapter, organization_id=caller.organization_id, with_card=True
    )


@router.delete("/models/{model:path}")
def delete_model(model: str, tx: Transaction, yard: YardDep, caller: Caller) -> Deleted:
    """Delete a fine-tuned model of yours. Batches that name it already go on to their end."""
    if yard.registry.get(model) is not None:
        _served(tx, yard, caller, model)
        raise NotEntitled(
            f"The model '{model}' is a base model of this yard, not one of yours; only its operator can "
            "remove it.",
            code="not_owner",
            param="model",
        )
    adapters.delete(tx, organization_id=caller.organization_id, adapter_id=model)
    return Deleted(id=model, object="model")


@router.post("/models/{model:path}", tags=["Operator"])
def change_model(
    model: str, body: ChangeModel, tx: Transaction, yard: YardDep, caller: Caller
) -> ModelObject:
    """Share an adapter with every organization, or take it back. Batches that name it go on."""
    adapter = adapters.share(tx, adapter_id=model, shared=body.shared)
    spec = yard.registry.get(adapter.base_model)
    if spec is None:
        raise adapters.unknown(model)
    base = ModelObject.of(spec, yard.registry, _prices(tx, yard, caller)[spec.id])
    return ModelObject.fine_tuned(base, adapter, organization_id=caller.organization_id)


def _prices(tx: Read, yard: Yard, caller: Principal) -> dict[str, Prices]:
    """What each base model costs this caller now."""
    return price_lists.current(tx, yard.registry.prices(), organization_id=caller.organization_id)


def _served(tx: Read, yard: Yard, caller: Principal, model: str) -> ServedModel:
    """What the name stands for, for this caller. Raises NotFound."""
    found = catalog.resolve(tx, yard.registry, [model], organization_id=caller.organization_id)
    if model not in found or not yard.tier(caller).permits(found[model].base):
        raise adapters.unknown(model)
    return found[model]
