"""OpenAI's Model object, and what a customer of this yard chooses a model by."""

from typing import Any, Literal

from api.schemas.wire import Identified, RequestBody, Wire
from orchestrator import clock
from orchestrator.adapters.model import Adapter, Origin
from orchestrator.metering.prices import CURRENCY, Prices
from orchestrator.models.registry import ModelSpec, Registry


class ModelPrices(Wire):
    """What applies to the caller now, in millionths of a dollar for a million tokens; a tier's discount is in
    its plan. `training` is for trained tokens, null where the model is not fine-tuned."""

    input: int
    cached_input: int
    output: int
    training: int | None
    currency: str = CURRENCY


class AdapterFacts(Wire):
    """What makes a fine-tuned model of its base. `card` says how it was made; only a single model has it,
    lists do not."""

    name: str | None
    origin: Origin
    source: str  # the fine-tuning job or the import that it came from
    rank: int
    target_modules: list[str]
    bytes: int
    sha256: str  # of the SHA-256 of both files, in hexadecimal, the weights' first
    shared: bool
    card: dict[str, Any] | None

    @classmethod
    def of(cls, adapter: Adapter, *, with_card: bool) -> "AdapterFacts":
        """The adapter as whoever may name it sees it."""
        return cls(
            name=adapter.name,
            origin=adapter.origin,
            source=adapter.source_id,
            rank=adapter.rank,
            target_modules=adapter.target_modules,
            bytes=adapter.bytes,
            sha256=adapter.digest,
            shared=adapter.shared,
            card=adapter.card if with_card else None,
        )


class ModelObject(Identified):
    """A model that the caller's batches may name."""

    object: Literal["model"] = "model"
    created: int
    owned_by: str
    # This yard's additions.
    parent: str | None = None  # the base model, of a fine-tuned one
    description: str
    context_window: int
    endpoints: list[str]
    prices: ModelPrices
    fine_tunable: bool
    adapter: AdapterFacts | None = None

    @classmethod
    def of(cls, spec: ModelSpec, registry: Registry, prices: Prices) -> "ModelObject":
        """A base model as a customer with these prices sees it, made when the registry's file was last
        written."""
        return cls(
            id=spec.id,
            created=clock.unix(registry.written_at),
            owned_by=spec.owned_by,
            description=spec.description,
            context_window=spec.context_length,
            endpoints=list(spec.endpoints),
            prices=ModelPrices.model_validate(prices),
            fine_tunable=spec.lora is not None,
        )

    @classmethod
    def fine_tuned(
        cls, base: "ModelObject", adapter: Adapter, *, organization_id: str, with_card: bool = False
    ) -> "ModelObject":
        """An adapter over `base`, at its base's prices. Whose one that is shared is, is not told."""
        own = adapter.organization_id == organization_id
        return base.model_copy(
            update={
                "id": adapter.id,
                "created": clock.unix(adapter.created_at),
                "owned_by": organization_id if own else "operator",
                "parent": base.id,
                "description": f"A LoRA adapter of rank {adapter.rank} over {base.id}.",
                "fine_tunable": False,
                "adapter": AdapterFacts.of(adapter, with_card=with_card and own),
            }
        )


class ModelList(Wire):
    """Every base model, and the newest adapters; all at once, as OpenAI does."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class ChangeModel(RequestBody):
    """Whether every organization may use an adapter."""

    shared: bool
