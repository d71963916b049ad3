"""How well the adapter does on the validation file."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from peft import PeftModel

from orchestrator.datasets.token_file import TokenFile
from workers.training.objective import Objective
from workers.training.packing import packs

EXAMPLES_AT_ONCE = 256  # that are packed together


@dataclass(frozen=True)
class Score:
    """Means over the whole file."""

    loss: float
    accuracy: float


def evaluate(
    model: PeftModel,
    objective: Objective,
    valid: TokenFile,
    *,
    micro_tokens: int,
    stopping: Callable[[], bool],
) -> Score | None:
    """Takes every example once, without dropout and gradients. None where it was stopped half-way."""
    each = objective.sequences_per_example
    examples = [range(first, first + each) for first in range(0, len(valid), each)]
    total, right = 0.0, 0.0
    model.eval()
    with torch.no_grad():
        for first in range(0, len(examples), EXAMPLES_AT_ONCE):
            for pack in packs(valid, examples[first : first + EXAMPLES_AT_ONCE], micro_tokens):
                if stopping():
                    return None
                loss = objective.loss(model, pack)
                total += float(loss.total)
                right += float(loss.right)
    weight = objective.weight(valid, examples)
    return Score(total / weight, right / weight)
