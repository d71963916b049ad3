"""OpenAI's Model object, and what a customer of this yard chooses a model by."""

from typing import Any, Literal

from api.schemas.wire import Identified, RequestBody, Wire
from orchestrator import clock
from orchestrator.adapters.model import Adapter, Origin
from orchestrator.models.registry import ModelSpec, Registry


class ModelPrices(Wire):
    """List prices, in millionths of a US dollar for a million tokens; a tier's discount is in its
    plan."""

    input: int
    cached_input: int
    output: int
    currency: Literal["USD"] = "USD"


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
    def of(cls, spec: ModelSpec, registry: Registry) -> "ModelObject":
        """A base model as customers see it, made when the registry's file was last written."""
        prices = spec.prices()
        return cls(
            id=spec.id,
            created=clock.unix(registry.written_at),
            owned_by=spec.owned_by,
            description=spec.description,
            context_window=spec.context_length,
            endpoints=list(spec.endpoints),
            prices=ModelPrices(
                input=prices.input,
                cached_input=prices.cached_input,
                output=prices.output,
            ),
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
