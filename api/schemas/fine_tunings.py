"""Groq's fine-tuning object: an adapter that its customer has trained elsewhere and brings along."""

from typing import Literal

from api.schemas.wire import Identified, RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.adapters.model import Adapter


class CreateFineTuning(RequestBody):
    """`input_file_id` is a ZIP of purpose `fine_tuning`; `name` becomes a part of the model's name."""

    input_file_id: Text
    base_model: Text
    name: Text | None = None
    type: Literal["lora"] = "lora"


class FineTuningFacts(Identified):
    """An import, as lists hold it. `fine_tuned_model` is what requests name as `model`."""

    name: str | None
    base_model: str
    type: Literal["lora"] = "lora"
    input_file_id: str
    created_at: int
    fine_tuned_model: str

    @classmethod
    def of(cls, adapter: Adapter) -> "FineTuningFacts":
        """The import that an adapter came from."""
        return cls(
            id=adapter.source_id,
            name=adapter.name,
            base_model=adapter.base_model,
            input_file_id=adapter.card["input_file_id"],
            created_at=clock.unix(adapter.created_at),
            fine_tuned_model=adapter.id,
        )


class FineTuningObject(Identified):
    """One import."""

    object: Literal["fine_tuning"] = "fine_tuning"
    data: FineTuningFacts

    @classmethod
    def of(cls, adapter: Adapter) -> "FineTuningObject":
        """The import in its envelope."""
        return cls(id=adapter.source_id, data=FineTuningFacts.of(adapter))


class FineTuningList(Wire):
    """The newest imports."""

    object: Literal["list"] = "list"
    data: list[FineTuningFacts]
