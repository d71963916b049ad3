"""What a training tries to make small."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
import torch.nn.functional as F
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from torch import Tensor

from orchestrator.datasets.token_file import TokenFile
from workers.training.cross_entropy import token_losses
from workers.training.packing import IGNORED, Pack, padded
from workers.training.spec import TrainingSpec

# Of the preferred answers' own likelihood in a DPO loss, as Llama 3 was trained (arXiv:2407.21783, 4.1.4).
# Without it both answers of a pair become unlikely, the preferred one only less so: the model breaks.
LIKELIHOOD_SHARE = 0.2


@dataclass(frozen=True)
class PackLoss:
    """Sums over a pack. Dividing by the whole step's weight makes it the same however a step is cut."""

    total: Tensor
    right: Tensor


class Objective(Protocol):
    """A loss over examples of `sequences_per_example` sequences each."""

    sequences_per_example: int

    def weight(self, tokens: TokenFile, examples: Sequence[Sequence[int]]) -> int:
        """What the sums of a step are divided by."""

    def loss(self, model: PeftModel, pack: Pack) -> PackLoss:
        """With gradients where torch has them enabled."""


class Supervised:
    """Cross-entropy, each learnt token of a step alike."""

    sequences_per_example = 1

    def weight(self, tokens: TokenFile, examples: Sequence[Sequence[int]]) -> int:
        return int(sum(tokens.learnt[number] for example in examples for number in example))

    def loss(self, model: PeftModel, pack: Pack) -> PackLoss:
        losses, right, _ = learnt_tokens(model, pack)
        return PackLoss(losses.sum(), right.sum())


class Preference:
    """Direct preference optimization (Rafailov et al. 2023, equation 7), every pair of a step alike:

    -log sigmoid(beta * (log-ratio of the preferred answer - log-ratio of the other)), where a log-ratio is
    log-probability minus that of the reference, the base with the adapter switched off; and added to it
    `LIKELIHOOD_SHARE` of the preferred answer's mean cross-entropy. `right` counts pairs that are ranked as
    they should be; at the first step none is, since the adapter changes nothing yet.
    """

    sequences_per_example = 2

    def __init__(self, beta: float) -> None:
        self._beta = beta

    def weight(self, tokens: TokenFile, examples: Sequence[Sequence[int]]) -> int:  # noqa: ARG002
        return len(examples)

    def loss(self, model: PeftModel, pack: Pack) -> PackLoss:
        with torch.no_grad(), model.disable_adapter():
            reference, _ = _sequence_losses(model, pack)
        losses, learnt = _sequence_losses(model, pack)
        log_ratios = reference - losses
        margins = self._beta * (log_ratios[0::2] - log_ratios[1::2])
        likelihood = losses[0::2] / learnt[0::2]
        total = (LIKELIHOOD_SHARE * likelihood - F.logsigmoid(margins)).sum()
        return PackLoss(total, (margins > 0).sum())


OBJECTIVES: dict[str, Callable[[TrainingSpec], Objective]] = {  # by the spec's `method`
    "supervised": lambda _: Supervised(),
    "dpo": lambda spec: Preference(spec.beta),
}


def _sequence_losses(model: PeftModel, pack: Pack) -> tuple[Tensor, Tensor]:
    """Of each sequence of a pack: the sum over its learnt tokens, and how many these are, at least 1."""
    losses, _, sequences = learnt_tokens(model, pack)
    sums = losses.new_zeros(len(pack.ends)).index_add(0, sequences, losses)
    return sums, sequences.bincount(minlength=len(pack.ends)).clamp(min=1)


def learnt_tokens(model: PeftModel, pack: Pack) -> tuple[Tensor, Tensor, Tensor]:
    """The learnt tokens of a pack, in order: loss f32 [n], whether the likeliest is right bool [n], and in
    which sequence of the pack it is i64 [n]."""
    device = model.device
    base = model.get_base_model()
    ids, positions, ends = padded(pack)
    bounds = torch.tensor([0, *ends], dtype=torch.int32, device=device)
    longest = max(end - start for start, end in pairwise((0, *ends)))
    with _adapter_in_base_precision(model):
        hidden = base.base_model(
            input_ids=torch.from_numpy(ids)[None].to(device),
            position_ids=torch.from_numpy(positions)[None].to(device),
            use_cache=False,
            cu_seq_lens_q=bounds,
            cu_seq_lens_k=bounds,
            max_length_q=longest,
            max_length_k=longest,
        ).last_hidden_state[0]
    targets = torch.from_numpy(pack.targets).to(device)
    places = (targets != IGNORED).nonzero()[:, 0]
    losses, right = token_losses(hidden[places], base.get_output_embeddings().weight, targets[places])
    return losses, right, torch.searchsorted(bounds[1:], places, right=True)


@contextmanager
def _adapter_in_base_precision(model: PeftModel) -> Iterator[None]:
    """Reckon a bf16 base's adapter in bf16, too, its weights staying fp32. By itself PEFT makes and keeps an
    fp32 copy of each layer's input, which is more than everything else that a step remembers."""
    if model.dtype != torch.bfloat16:
        yield
        return
    with disable_input_dtype_casting(model), torch.autocast(model.device.type, torch.bfloat16):
        yield
