"""OpenAI's Model object, and what a customer of this yard chooses a model by."""

from typing import Literal

from api.schemas.wire import Identified, Wire
from orchestrator.models.registry import ModelSpec


class ModelPrices(Wire):
    """List prices, in millionths of a US dollar for a million tokens; a tier's discount is in its
    plan."""

    input: int
    cached_input: int
    output: int
    currency: Literal["USD"] = "USD"


class ModelObject(Identified):
    """A model that the caller's batches may name."""

    object: Literal["model"] = "model"
    created: int
    owned_by: str
    # This yard's additions.
    description: str
    context_window: int
    endpoints: list[str]
    prices: ModelPrices

    @classmethod
    def of(cls, spec: ModelSpec) -> "ModelObject":
        """The model as customers see it. The registry keeps no date, so `created` is 0."""
        prices = spec.prices()
        return cls(
            id=spec.id,
            created=0,
            owned_by=spec.owned_by,
            description=spec.description,
            context_window=spec.context_length,
            endpoints=list(spec.endpoints),
            prices=ModelPrices(
                input=prices.input,
                cached_input=prices.cached_input,
                output=prices.output,
            ),
        )


class ModelList(Wire):
    """Every model at once; there are never enough for pages."""

    object: Literal["list"] = "list"
    data: list[ModelObject]
