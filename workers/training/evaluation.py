"""How well the adapter does on the validation file."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from peft import PeftModel

from orchestrator.datasets.token_file import TokenFile
from workers.training.objective import Objective
from workers.training.packing import packs
from workers.training.processes import Processes

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
    processes: Processes,
    stopping: Callable[[], bool],
) -> Score | None:
    """Takes every example once, without dropout and gradients. None where it was stopped half-way."""
    each = objective.sequences_per_example
    examples = [range(first, first + each) for first in range(0, len(valid), each)]
    total, right = 0.0, 0.0
    model.eval()
    with torch.no_grad():
        for first in range(0, len(examples), EXAMPLES_AT_ONCE):
            together = packs(valid, examples[first : first + EXAMPLES_AT_ONCE], micro_tokens)
            for at in range(0, len(together), processes.count):
                if stopping():
                    return None
                for pack in processes.share(together[at : at + processes.count]):
                    loss = objective.loss(model, pack)
                    total += float(loss.total)
                    right += float(loss.right)
    weight = objective.weight(valid, examples)
    total, right = processes.sums(total, right)
    return Score(total / weight, right / weight)
