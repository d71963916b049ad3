"""From what was asked and what was counted to a training that can run: numbers, memory, estimate."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.datasets.preparation import DatasetSpec, PreparedDataset
from orchestrator.fine_tuning.estimate import estimate
from orchestrator.fine_tuning.hyperparameters import resolve
from orchestrator.fine_tuning.machine import Machine
from orchestrator.fine_tuning.memory import TooLarge, preflight
from orchestrator.fine_tuning.model import Method
from orchestrator.fine_tuning.requested import example_tokens_max
from orchestrator.models.registry import ModelSpec
from orchestrator.models.shape import read_shape

SEQUENCES_PER_EXAMPLE = {Method.SUPERVISED: 1, Method.DPO: 2}


@dataclass(frozen=True)
class Refusal:
    """Why the job fails before it was trained, as its `error` says it."""

    code: str
    message: str
    param: str | None


@dataclass(frozen=True)
class Plan:
    """`hyperparameters` and `lora` are every number that runs, as the job's columns hold them. `refusal`:
    it does not fit."""

    hyperparameters: dict[str, Any]
    lora: dict[str, Any]
    total_steps: int
    estimate: dict[str, Any]
    refusal: Refusal | None


def dataset_spec(
    requested: Mapping[str, Any],
    method: Method,
    *,
    spec: ModelSpec,
    train: Path,
    valid: Path | None,
    folder: Path,
) -> DatasetSpec | Refusal:
    """How the datasets are to be read; refused where this machine lacks the base model's tokenizer."""
    tokenizer = spec.tokens().tokenizer
    if tokenizer is None:
        return Refusal(
            "invalid_base_model",
            f"The tokenizer of {spec.id} is not on this machine, and without it no example can be read. The "
            "operator of this yard can download the model, or name a folder as its source.",
            "model",
        )
    return DatasetSpec(
        train=train,
        valid=valid,
        folder=folder,
        method=method.value,
        tokenizer=tokenizer,
        example_tokens_max=example_tokens_max(requested, method, spec),
    )


def plan(
    requested: Mapping[str, Any],
    method: Method,
    prepared: PreparedDataset,
    *,
    spec: ModelSpec,
    price_micros: int,
    machine: Machine,
    tokens_per_second: float | None = None,
) -> Plan:
    """The training of a dataset that is in order, at `price_micros` per million trained tokens. Raises
    Invalid where what is requested is out of bounds."""
    shape = read_shape(spec.source) if spec.source else None
    resolved = resolve(requested, method, prepared.train, spec, shape=shape)
    longest = max((prepared.train, prepared.valid or prepared.train), key=lambda facts: facts.longest)
    verdict = preflight(
        shape, resolved, longest, machine, sequences_per_example=SEQUENCES_PER_EXAMPLE[method]
    )
    refusal, cut = None, {}
    if isinstance(verdict, TooLarge):
        refusal = Refusal("insufficient_memory", verdict.message, None)
    else:
        cut = {
            "micro_tokens": verdict.micro_tokens,
            "gradient_checkpointing": verdict.gradient_checkpointing,
        }
    return Plan(
        hyperparameters=resolved.to_json() | {"dtype": machine.dtype} | cut,
        lora=resolved.lora.to_json(),
        total_steps=resolved.total_steps,
        estimate=estimate(
            resolved,
            prepared.train,
            prepared.valid,
            verdict=verdict,
            machine=machine,
            shape=shape,
            price_micros=price_micros,
            tokens_per_second=tokens_per_second,
            warnings=prepared.warnings,
        ),
        refusal=refusal,
    )


def refused_by_its_files(prepared: PreparedDataset) -> Refusal | None:
    """Why the job fails by its datasets: the one problem there is, or how many there are and the first."""
    if not prepared.problems:
        return None
    first = prepared.first_problems[0]
    if prepared.problems == 1 and first.line is None:
        return Refusal(first.code, first.message, first.file)
    bad = prepared.bad_examples
    where = f"Line {first.line} of the {first.file.replace('_', ' ')}: " if first.line else ""
    count = f"{bad:,} examples cannot" if bad != 1 else "1 example cannot"
    message = f"{count} be learnt from. {where}{first.message} The job's report file has every problem."
    return Refusal(f"invalid_{first.file}", message, first.file)
