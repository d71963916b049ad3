"""What a training will take: steps, tokens, price, time and memory. Pure arithmetic over what is known."""

from collections.abc import Sequence
from typing import Any

from orchestrator.datasets.statistics import DatasetFacts
from orchestrator.fine_tuning.hyperparameters import Resolved
from orchestrator.fine_tuning.machine import Machine
from orchestrator.fine_tuning.memory import Fits, Verdict
from orchestrator.metering.prices import CURRENCY, MICROS, training_cost_micros
from orchestrator.models.shape import ModelShape

START_SECONDS = 10.0  # a trainer's libraries and its base
# LoRA takes 4 operations a weight and token: two forward, two back to the layer before, none for the weight.
OPERATIONS_PER_WEIGHT = 4
# Rates taken for machines on which nothing was trained yet; an H100 at 40%, two server cores in fp32.
GPU_OPERATIONS_PER_SECOND = 4e14
CPU_OPERATIONS_PER_SECOND = 5e10
VALIDATION_SHARE = 0.5  # of a trained token's work: forward only


def estimate(
    resolved: Resolved,
    train: DatasetFacts,
    valid: DatasetFacts | None,
    *,
    verdict: Verdict,
    machine: Machine,
    shape: ModelShape | None,
    price_micros: int,
    tokens_per_second: float | None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The wire's estimate. `price_micros` is per million trained tokens, in the tier; `tokens_per_second`
    that of earlier trainings of the same base, None where there was none. Seconds are from the trainer's
    start, None where nothing is known."""
    trained_tokens = train.tokens * resolved.n_epochs
    rate = tokens_per_second or _guessed_rate(shape, machine)
    evaluated = 0 if valid is None else valid.tokens * resolved.n_epochs * VALIDATION_SHARE
    cost = training_cost_micros(trained_tokens, price_micros)
    need = verdict.need
    return {
        "examples": train.examples,
        "validation_examples": 0 if valid is None else valid.examples,
        "truncated_examples": train.truncated,
        "example_tokens_max": resolved.example_tokens_max,
        "example_tokens": {"p50": train.p50, "p95": train.p95, "longest": train.longest},
        "tokens_per_epoch": train.tokens,
        "learnt_tokens_per_epoch": train.learnt_tokens,
        "n_epochs": resolved.n_epochs,
        "total_steps": resolved.total_steps,
        "trained_tokens": trained_tokens,
        "cost_micros": cost,
        "cost": cost / MICROS,
        "currency": CURRENCY,
        "duration_seconds": round(START_SECONDS + (trained_tokens + evaluated) / rate, 1) if rate else None,
        "duration_basis": _basis(tokens_per_second, rate),
        "memory_needed_bytes": need and need.total(),
        "memory_available_bytes": verdict.available_bytes,
        "fits": isinstance(verdict, Fits),
        "warnings": list(warnings),
    }


def _guessed_rate(shape: ModelShape | None, machine: Machine) -> float | None:
    if shape is None:
        return None
    operations = GPU_OPERATIONS_PER_SECOND if machine.cuda else CPU_OPERATIONS_PER_SECOND
    return operations / (OPERATIONS_PER_WEIGHT * shape.parameters)


def _basis(measured: float | None, rate: float | None) -> str:
    if measured:
        return f"Earlier trainings of this base took {measured:,.0f} tokens a second."
    if rate:
        return f"A guess by the model's size, {rate:,.0f} tokens a second: this base was not trained before."
    return "No time: this base was not trained before, and its size is not known here."
