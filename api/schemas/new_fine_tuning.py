"""The body of a request for a fine-tuning job: types here, bounds where they are explained.

What OpenAI has no name for stands under `lora`, beside `hyperparameters`; send it with the SDK's `extra_body`
or simply in `method`, which passes on what it does not know.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from api.schemas.wire import RequestBody, Text
from orchestrator.fine_tuning.admission import NewFineTuning


def _auto_or(what: str) -> WrapValidator:
    """One error for the parameter, rather than one for each kind of value that it may have."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("auto_type", "'auto' or {what}", {"what": what}) from None

    return WrapValidator(check)


AutoInt = Annotated[Literal["auto"] | int, _auto_or("an integer")]
AutoFloat = Annotated[Literal["auto"] | float, _auto_or("a number")]


class Hyperparameters(RequestBody):
    """`auto` is chosen by the dataset; the job shows the number that it became."""

    n_epochs: AutoInt | None = None
    batch_size: AutoInt | None = None
    learning_rate_multiplier: AutoFloat | None = None


class DpoHyperparameters(Hyperparameters):
    """The same, and how strongly the model is held to what it was."""

    beta: AutoFloat | None = None


class Lora(RequestBody):
    """The adapter, in PEFT's words. This yard's addition."""

    r: int | None = None
    alpha: int | None = None
    dropout: float | None = None
    target_modules: list[Text] | None = Field(default=None, max_length=64)
    use_rslora: bool | None = None


class Supervised(RequestBody):
    """Learn the assistant's messages, or the completions."""

    hyperparameters: Hyperparameters | None = None
    lora: Lora | None = None


class Dpo(RequestBody):
    """Learn which of two answers is preferred."""

    hyperparameters: DpoHyperparameters | None = None
    lora: Lora | None = None


class MethodBody(RequestBody):
    """How to train. `reinforcement` is read only to be refused in words."""

    type: Text = Field(examples=["supervised", "dpo"])
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: dict[str, Any] | None = None


class CreateFineTuningJob(RequestBody):
    """The body of `POST /fine_tuning/jobs` and of its estimate."""

    model: Text = Field(max_length=256, examples=["yard-smoke"], description="The base model.")
    training_file: Text = Field(max_length=64, examples=["file-abc123"])
    validation_file: Text | None = Field(default=None, max_length=64)
    method: MethodBody | None = None
    hyperparameters: Hyperparameters | None = Field(
        default=None, description="Their older place, for supervised jobs.", deprecated=True
    )
    suffix: Text | None = Field(default=None, description="A part of the new model's name.")
    seed: int | None = None
    metadata: dict[Text, Text] | None = None
    integrations: list[dict[str, Any]] | None = Field(default=None, max_length=5)

    def asked(self) -> NewFineTuning:
        """What is asked for, without what was left out."""
        given = self.model_dump(exclude_none=True)
        return NewFineTuning(**given)
