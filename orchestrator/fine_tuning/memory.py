"""Whether a training fits into memory, before a GPU is taken for it, and how it is cut to fit.

An estimate of the trainer's peak: weights, the adapter with its optimizer, what a forward pass keeps for the
backward pass, and the logits in work. All constants that were measured, or are to be, stand in `COST`.
"""

from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.datasets.statistics import DatasetFacts
from orchestrator.fine_tuning.hyperparameters import LoraChoice, Resolved
from orchestrator.fine_tuning.machine import Machine
from orchestrator.models.shape import ModelShape

Dtype = Literal["float32", "bfloat16"]
Quantization = Literal["none", "nf4"]

GIB = 1 << 30
RANKS_TOLD = (32, 16, 8, 4)
EXAMPLE_TOKENS_TOLD = (65_536, 32_768, 16_384, 8_192, 4_096, 2_048, 1_024, 512)

# Micro-batches, the preferred size first. Larger ones keep a GPU busy; on a CPU 1,024 tokens were fastest.
GPU_MICRO_TOKENS = (16_384, 8_192, 4_096, 2_048, 1_024)
CPU_MICRO_TOKENS = (1_024, 512, 256)
# Rather smaller micro-batches than the third of time that checkpointing costs, but not below these.
PLAIN_MICRO_TOKENS_MIN = {True: 4_096, False: 256}  # by whether there is CUDA


@dataclass(frozen=True)
class Cost:
    """Bytes, and factors of bytes."""

    # Measured on a CPU, 2026-11-24: whole runs of the smoke model and of one of 30 million weights in fp32,
    # as CPUs train, of ranks 16 and 64, peak within 10% of this. Memory that is free but not given back
    # weighs most, and is as much with gradient checkpointing as without. No GPU was there to measure: for
    # CUDA the formula stands alone.
    process_cpu: int = 410 << 20  # an interpreter with torch, transformers and peft
    activations_cpu: float = 2.5  # times those that are kept
    process_cuda: int = 300 << 20  # kernels' workspaces; the context itself is not the process's to count
    usable_share: float = 0.92  # of the memory there is: the rest is fragmentation, and a GPU's context
    adapter_bytes: int = 16  # a parameter in fp32: itself, its gradient, two moments of AdamW
    nf4_bytes: float = 0.5625  # a weight in 4 bits, and a scale in fp32 for each 64 of them
    input_share: float = 0.6  # of the inputs of linear layers that are kept: some layers share one
    norm_copies: float = 4.0  # of the hidden state in fp32 that a layer's norms keep
    logits_bytes: int = 64 << 20  # rows in work, in fp32; as in the trainer's cross-entropy
    logits_copies: float = 2.5  # of those rows at once


COST = Cost()


@dataclass(frozen=True)
class Need:
    """The peak in bytes, by what takes it."""

    weights: int
    adapter: int
    activations: int
    logits: int
    process: int

    def total(self) -> int:
        """All of it."""
        return self.weights + self.adapter + self.activations + self.logits + self.process


@dataclass(frozen=True)
class Fits:
    """How to run it. `need` is None where the base's shape is not known here: then nothing was checked."""

    micro_tokens: int
    gradient_checkpointing: bool
    need: Need | None
    available_bytes: int


@dataclass(frozen=True)
class TooLarge:
    """It does not fit however it is cut. `need` is the least; `message` says it all, and what would fit."""

    message: str
    need: Need
    available_bytes: int


Verdict = Fits | TooLarge


def preflight(
    shape: ModelShape | None,
    resolved: Resolved,
    facts: DatasetFacts,
    machine: Machine,
    *,
    sequences_per_example: int = 1,
) -> Verdict:
    """Find the largest micro-batch that fits, without gradient checkpointing where that is possible."""
    available = machine.memory_bytes
    sizes = GPU_MICRO_TOKENS if machine.cuda else CPU_MICRO_TOKENS
    if shape is None:
        return Fits(sizes[-1], machine.cuda, None, available)
    longest = facts.longest * sequences_per_example
    whole_step = longest * resolved.batch_size

    def need(micro_tokens: int, *, checkpointing: bool) -> Need:
        tokens = min(max(micro_tokens, longest), whole_step)
        return _need(shape, resolved, machine, tokens, checkpointing=checkpointing)

    usable = int(available * COST.usable_share)
    plain = [size for size in sizes if size >= PLAIN_MICRO_TOKENS_MIN[machine.cuda]]
    for checkpointing, choices in ((False, plain), (True, sizes)):
        for size in choices:
            found = need(size, checkpointing=checkpointing)
            if found.total() <= usable:
                return Fits(size, checkpointing, found, available)
    least = need(sizes[-1], checkpointing=True)
    return TooLarge(_refusal(shape, resolved, machine, longest, least, usable), least, available)


def _need(
    shape: ModelShape, resolved: Resolved, machine: Machine, tokens: int, *, checkpointing: bool
) -> Need:
    """The peak with `tokens` tokens in one micro-batch."""
    item = 4 if machine.dtype == "float32" else 2
    targeted = shape.targeted(resolved.lora.target_modules)
    return Need(
        weights=_weights(shape, item, resolved.quantization),
        adapter=_adapter_parameters(targeted, resolved.lora) * COST.adapter_bytes,
        activations=int(
            tokens
            * _activations(shape, targeted, item, checkpointing=checkpointing and machine.cuda)
            * (1.0 if machine.cuda else COST.activations_cpu)
        ),
        logits=int(min(COST.logits_bytes, tokens * shape.vocabulary * 4) * COST.logits_copies),
        process=COST.process_cuda if machine.cuda else COST.process_cpu,
    )


def _weights(shape: ModelShape, item: int, quantization: Quantization) -> int:
    if quantization == "none":
        return shape.parameters * item
    linear = shape.linear_parameters()
    return int(linear * COST.nf4_bytes) + (shape.parameters - linear) * item


def _adapter_parameters(targeted: list[tuple[int, int]], lora: LoraChoice) -> int:
    return lora.r * sum(outputs + inputs for outputs, inputs in targeted)


def _activations(
    shape: ModelShape, targeted: list[tuple[int, int]], item: int, *, checkpointing: bool
) -> int:
    """Bytes a token. Kept are: the input of each targeted layer, which its adapter's gradient needs; the
    output of each layer, for what follows it; and what norms keep. With checkpointing, that of one layer at a
    time, and the hidden state between any two."""
    inputs = sum(inputs for _, inputs in targeted) * item * COST.input_share
    outputs = sum(outputs for outputs, _ in shape.linear.values()) * item
    norms = shape.layers * shape.width * 4 * COST.norm_copies
    everything = inputs + outputs + norms
    if not checkpointing:
        return int(everything)
    return int(everything / shape.layers) + shape.layers * shape.width * item


def _refusal(
    shape: ModelShape, resolved: Resolved, machine: Machine, longest: int, least: Need, usable: int
) -> str:
    parts = ", ".join(
        f"{name} {_gib(value)}"
        for name, value in (
            ("weights", least.weights),
            ("adapter and optimizer", least.adapter),
            (f"activations of {longest:,} tokens", least.activations),
            ("the rest", least.logits + least.process),
        )
    )
    would = _would_fit(shape, resolved, machine, longest, usable)
    advice = f"It would fit with {' or '.join(would)}." if would else "No single change would make it fit."
    return (
        f"This training needs at least {_gib(least.total())} of memory ({parts}), even with gradient "
        f"checkpointing; {_gib(usable)} of the {_gib(machine.memory_bytes)} there can be used. {advice}"
    )


def _would_fit(
    shape: ModelShape, resolved: Resolved, machine: Machine, longest: int, usable: int
) -> list[str]:
    """What to change, one thing alone, so that it fits."""

    def fits(changed: Resolved, tokens: int) -> bool:
        return _need(shape, changed, machine, tokens, checkpointing=True).total() <= usable

    would = []
    if resolved.quantization == "none" and fits(replace(resolved, quantization="nf4"), longest):
        would.append("'quantization': 'nf4' (QLoRA)")
    shorter = next((size for size in EXAMPLE_TOKENS_TOLD if size < longest and fits(resolved, size)), None)
    if shorter is not None:
        would.append(f"examples of at most {shorter:,} tokens")
    smaller = next(
        (
            rank
            for rank in RANKS_TOLD
            if rank < resolved.lora.r
            and fits(replace(resolved, lora=replace(resolved.lora, r=rank)), longest)
        ),
        None,
    )
    if smaller is not None:
        would.append(f"a LoRA rank of {smaller}")
    return would


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
