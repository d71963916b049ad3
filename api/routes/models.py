"""Models: those that the caller's tier may use. The others do not exist for it."""

from fastapi import APIRouter

from api.auth import Caller
from api.deps import YardDep
from api.schemas.models import ModelList, ModelObject
from orchestrator.errors import NotFound

router = APIRouter(tags=["Models"])


@router.get("/models")
def list_models(yard: YardDep, caller: Caller) -> ModelList:
    """The models that your batches may name, with their prices."""
    tier = yard.tiers[caller.tier]
    permitted = [spec for spec in yard.registry.all() if tier.permits(spec.id)]
    return ModelList(data=[ModelObject.of(spec) for spec in permitted])


@router.get("/models/{model:path}")
def retrieve_model(model: str, yard: YardDep, caller: Caller) -> ModelObject:
    """One model."""
    spec = yard.registry.get(model)
    if spec is None or not yard.tiers[caller.tier].permits(model):
        raise NotFound(
            f"The model '{model}' does not exist or you do not have access to it.",
            code="model_not_found",
            param="model",
        )
    return ModelObject.of(spec)
