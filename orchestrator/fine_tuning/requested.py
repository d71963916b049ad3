"""What a customer may ask of a training, and within which bounds. Below the method's name in a request:

    {"hyperparameters": {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 0.5},
     "lora": {"r": 16, "alpha": 32, "dropout": 0, "target_modules": [...], "use_rslora": false},
     "tokenyard": {"evaluate_every_steps": 50, "early_stopping_patience": 3, "example_tokens_max": 4096,
                   "quantization": "nf4"}}

`hyperparameters` is OpenAI's, with its bounds; `lora` is in PEFT's words; `tokenyard` has the rest. A base in
4 bits is allowed on a yard without CUDA too: slower there, but it takes the memory that it promises.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from orchestrator.adapters import servable
from orchestrator.errors import Invalid
from orchestrator.fine_tuning.model import Method
from orchestrator.models.registry import ModelSpec

Auto = Literal["auto"]
AUTO: Auto = "auto"

# OpenAI's bounds.
EPOCHS_MAX = 50
BATCH_SIZE_MAX = 256
BETA_MAX = 2.0
# Ours: ten times more is no training any more.
MULTIPLIER_MAX = 100.0
ALPHA_MAX = 1_024
DROPOUT_MAX = 0.5
EXAMPLE_TOKENS_MIN = 16
EVALUATE_EVERY_MAX = 1_000_000
PATIENCE_MAX = 1_000


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _or_auto(expected: str) -> WrapValidator:
    """One error for a parameter, rather than one for each kind of value that it may have."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            words = {"expected": f"{expected}, or 'auto'"}
            raise PydanticCustomError("number_or_auto", "{expected}", words) from None

    return WrapValidator(check)


def _whole(most: int) -> WrapValidator:
    return _or_auto(f"a whole number from 1 to {most}")


def _above_zero(most: float) -> WrapValidator:
    return _or_auto(f"a number above 0, at most {most:g}")


class Hyperparameters(_Part):
    n_epochs: Annotated[Annotated[int, Field(ge=1, le=EPOCHS_MAX)] | Auto, _whole(EPOCHS_MAX)] = AUTO
    batch_size: Annotated[Annotated[int, Field(ge=1, le=BATCH_SIZE_MAX)] | Auto, _whole(BATCH_SIZE_MAX)] = (
        AUTO
    )
    learning_rate_multiplier: Annotated[
        Annotated[float, Field(gt=0, le=MULTIPLIER_MAX)] | Auto, _above_zero(MULTIPLIER_MAX)
    ] = AUTO


class DpoHyperparameters(Hyperparameters):
    beta: Annotated[Annotated[float, Field(gt=0, le=BETA_MAX)] | Auto, _above_zero(BETA_MAX)] = AUTO


class Lora(_Part):
    r: int | None = None  # bounded by what engines serve
    alpha: Annotated[int, Field(ge=1, le=ALPHA_MAX)] | None = None
    dropout: Annotated[float, Field(ge=0, le=DROPOUT_MAX)] = 0.0
    target_modules: list[str] = []
    use_rslora: bool = False


class Extension(_Part):
    evaluate_every_steps: Annotated[int, Field(ge=1, le=EVALUATE_EVERY_MAX)] | None = None
    early_stopping_patience: Annotated[int, Field(ge=1, le=PATIENCE_MAX)] | None = None
    example_tokens_max: Annotated[int, Field(ge=EXAMPLE_TOKENS_MIN)] | None = None
    quantization: Literal["none", "nf4"] = "none"


class Requested(_Part):
    hyperparameters: Hyperparameters = Hyperparameters()
    lora: Lora = Lora()
    tokenyard: Extension = Extension()


class DpoRequested(Requested):
    hyperparameters: DpoHyperparameters = DpoHyperparameters()


def read(requested: Mapping[str, Any], method: Method) -> Requested:
    """`requested`, typed. Raises Invalid for the first parameter that is out of bounds or unknown."""
    kind = DpoRequested if method is Method.DPO else Requested
    given = {part: value for part, value in requested.items() if value is not None}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _invalid(error.errors()[0], method) from None


def check(
    requested: Mapping[str, Any], method: Method, spec: ModelSpec, *, has_validation_file: bool = True
) -> None:
    """Pass where this can be trained on `spec`, and its adapter be served. Raises Invalid."""
    asked = read(requested, method)
    where = f"method.{method}"
    if asked.lora.r is not None or asked.lora.target_modules:
        rank = asked.lora.r if asked.lora.r is not None else 1
        servable.check_lora(
            r=rank, spec=spec, target_modules=asked.lora.target_modules, param=f"{where}.lora"
        )
    most = asked.tokenyard.example_tokens_max
    if most is not None and most > example_tokens_limit(spec):
        raise Invalid(
            f"Invalid value: {most}. Expected at most {example_tokens_limit(spec)}: what '{spec.id}' learns "
            "of one example.",
            param=f"{where}.tokenyard.example_tokens_max",
        )
    if asked.tokenyard.early_stopping_patience is not None and not has_validation_file:
        raise Invalid(
            "Early stopping looks at the validation loss. Add a 'validation_file', or leave "
            "'early_stopping_patience' out.",
            param=f"{where}.tokenyard.early_stopping_patience",
        )


def example_tokens_max(requested: Mapping[str, Any], method: Method, spec: ModelSpec) -> int:
    """Tokens after which an example is cut off. Raises Invalid."""
    return read(requested, method).tokenyard.example_tokens_max or example_tokens_limit(spec)


def example_tokens_limit(spec: ModelSpec) -> int:
    """The most tokens of one example that this model learns."""
    own = spec.lora.example_tokens_max if spec.lora else None
    return min(own or spec.context_length, spec.context_length)


def _invalid(problem: ErrorDetails, method: Method) -> Invalid:
    param = ".".join(map(str, ("method", method, *problem["loc"])))
    if problem["type"] == "extra_forbidden":
        return Invalid(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)
    expected = problem["msg"].removeprefix("Input should be ")
    return Invalid(f"Invalid value: {problem['input']!r:.80}. Expected {expected}.", param=param)
