"""The numbers a training runs with: those that were asked for, and for each `auto` a rule.

* batch_size: 0.2% of the examples, OpenAI's rule, between 8 and 32: LoRA learns worse than full fine-tuning
  from larger batches ("LoRA Without Regret"). Below 80 examples a tenth of them, so that an epoch has steps.
* n_epochs: enough for some 150 steps, since a new task is not learnt in fewer, but ten at most.
* learning rate: the model's own from models.toml, else Tinker's formula (`hyperparam_utils.get_lr` of
  tinker-cookbook), 5e-5 · 10 · (2000 / width)^p. For `dpo` a fifth of it. The multiplier multiplies that.
* LoRA: rank 16 and alpha 32 on every linear layer without dropout, the same source.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from orchestrator.datasets.statistics import DatasetFacts
from orchestrator.fine_tuning.model import Method
from orchestrator.fine_tuning.requested import (
    DpoHyperparameters,
    example_tokens_max,
    read,
)
from orchestrator.models.registry import ModelSpec
from orchestrator.models.shape import ModelShape

BATCH_SHARE = 0.002
BATCH_MIN, BATCH_MAX = 8, 32
SMALL_BATCH_SHARE = 0.1
STEPS_WANTED = 150
EPOCHS_MAX = 10

FULL_RATE, LORA_FACTOR, WIDTH = 5e-5, 10.0, 2_000
WIDTH_EXPONENTS = {"llama": 0.781, "qwen": 0.0775}  # by the beginning of `model_type`
UNKNOWN_FAMILY_RATE = 2e-4  # Tinker does not guess; usual for LoRA, and on the careful side
DPO_RATE_SHARE = 0.2
WARMUP_SHARE, WARMUP_STEPS_MAX = 0.05, 100

Number = TypeVar("Number", int, float)

BETA = 0.1
RANK, ALPHA = 16, 32


@dataclass(frozen=True)
class LoraChoice:
    """An adapter, in PEFT's words. No `target_modules`: every linear layer but the head."""

    r: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    use_rslora: bool

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a JSON column."""
        return asdict(self) | {"target_modules": list(self.target_modules)}


@dataclass(frozen=True)
class Resolved:
    """A training without an open question. `learning_rate` is the peak; `beta` is None but for `dpo`."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    learning_rate: float
    warmup_steps: int
    beta: float | None
    total_steps: int
    example_tokens_max: int
    quantization: Literal["none", "nf4"]
    evaluate_every_steps: int | None
    early_stopping_patience: int | None
    lora: LoraChoice

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a JSON column: all but `lora` and `total_steps`, which have their own, and
        what does not apply."""
        own = asdict(self)
        del own["lora"], own["total_steps"]
        return {name: value for name, value in own.items() if value is not None}


def resolve(
    requested: Mapping[str, Any],
    method: Method,
    facts: DatasetFacts,
    spec: ModelSpec,
    *,
    shape: ModelShape | None = None,
) -> Resolved:
    """Numbers for everything that `requested` leaves open. `shape` gives the learning rate where models.toml
    does not. Raises Invalid as `requested.read` does."""
    asked = read(requested, method)
    numbers = asked.hyperparameters
    examples = max(1, facts.examples)
    batch_size = _chosen(numbers.batch_size, auto_batch_size(examples))
    epoch_steps = math.ceil(examples / batch_size)
    n_epochs = _chosen(numbers.n_epochs, auto_epochs(epoch_steps))
    multiplier = _chosen(numbers.learning_rate_multiplier, 1.0)
    rate = base_rate(spec, shape) * (DPO_RATE_SHARE if method is Method.DPO else 1.0)
    total_steps = n_epochs * epoch_steps
    rank_max = spec.lora.rank_max if spec.lora else RANK
    return Resolved(
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate_multiplier=multiplier,
        learning_rate=rate * multiplier,
        warmup_steps=min(WARMUP_STEPS_MAX, round(WARMUP_SHARE * total_steps)),
        beta=_chosen(numbers.beta, BETA) if isinstance(numbers, DpoHyperparameters) else None,
        total_steps=total_steps,
        example_tokens_max=example_tokens_max(requested, method, spec),
        quantization=asked.tokenyard.quantization,
        evaluate_every_steps=asked.tokenyard.evaluate_every_steps,
        early_stopping_patience=asked.tokenyard.early_stopping_patience,
        lora=LoraChoice(
            r=asked.lora.r or min(RANK, rank_max),
            alpha=asked.lora.alpha or ALPHA,
            dropout=asked.lora.dropout,
            target_modules=tuple(asked.lora.target_modules),
            use_rslora=asked.lora.use_rslora,
        ),
    )


def auto_batch_size(examples: int) -> int:
    """Examples a step."""
    if examples < BATCH_MIN / SMALL_BATCH_SHARE:
        return max(1, int(examples * SMALL_BATCH_SHARE))
    return min(BATCH_MAX, max(BATCH_MIN, round(examples * BATCH_SHARE)))


def auto_epochs(epoch_steps: int) -> int:
    """Epochs of so many steps each."""
    return min(EPOCHS_MAX, math.ceil(STEPS_WANTED / epoch_steps))


def base_rate(spec: ModelSpec, shape: ModelShape | None) -> float:
    """The learning rate that a multiplier of 1 stands for."""
    if spec.lora is not None and spec.lora.learning_rate is not None:
        return spec.lora.learning_rate
    for family, exponent in WIDTH_EXPONENTS.items():
        if shape is not None and shape.model_type.startswith(family):
            return FULL_RATE * LORA_FACTOR * float((WIDTH / shape.width) ** exponent)
    return UNKNOWN_FAMILY_RATE


def _chosen(asked: Number | str, auto: Number) -> Number:
    return auto if isinstance(asked, str) else asked
