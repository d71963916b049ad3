"""The body of a request for a fine-tuning job, or for what one would be.

What stands below the method's name is described in `orchestrator/fine_tuning/requested.py`: OpenAI's
`hyperparameters`, and beside them `lora` and `tokenyard`, which OpenAI does not have; its SDK passes them on.
"""

from typing import Any

from pydantic import Field

from api.schemas.wire import RequestBody, Text
from orchestrator.fine_tuning.admission import NewFineTuning
from orchestrator.fine_tuning.requested import DpoRequested, Hyperparameters, Requested


class MethodBody(RequestBody):
    """How to train. `reinforcement` is read only to be refused in words."""

    type: Text = Field(max_length=64, examples=["supervised", "dpo"])
    supervised: Requested | None = None
    dpo: DpoRequested | None = None
    reinforcement: dict[str, Any] | None = None


class NewFineTuningJob(RequestBody):
    """The body of `POST /fine_tuning/jobs` and of `POST /fine_tuning/jobs/estimate`."""

    model: Text = Field(max_length=256, examples=["yard-smoke"], description="The base model.")
    training_file: Text = Field(max_length=64, examples=["file-abc123"])
    validation_file: Text | None = Field(default=None, max_length=64)
    method: MethodBody | None = None
    hyperparameters: Hyperparameters | None = Field(
        default=None, description="Their older place.", deprecated=True
    )
    suffix: Text | None = Field(default=None, description="A part of the new model's name.")
    seed: int | None = None
    metadata: dict[Text, Text] | None = None
    integrations: list[dict[str, Any]] | None = Field(default=None, max_length=5)

    def asked(self) -> NewFineTuning:
        """What is asked for, without what was left out."""
        return NewFineTuning(**self.model_dump(exclude_unset=True, exclude_none=True))
