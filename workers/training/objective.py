"""What a training tries to make small."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from peft import PeftModel
from torch import Tensor

from orchestrator.datasets.token_file import TokenFile
from workers.training.cross_entropy import token_losses
from workers.training.packing import IGNORED, Pack


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


OBJECTIVES: dict[str, Callable[[], Objective]] = {"supervised": Supervised}  # by the spec's `method`


def learnt_tokens(model: PeftModel, pack: Pack) -> tuple[Tensor, Tensor, Tensor]:
    """The learnt tokens of a pack, in order: loss f32 [n], whether the likeliest is right bool [n], and in
    which sequence of the pack it is i64 [n]."""
    device = model.device
    base = model.get_base_model()
    bounds = torch.tensor([0, *pack.ends], dtype=torch.int32, device=device)
    longest = max(end - start for start, end in zip((0, *pack.ends), pack.ends, strict=False))
    hidden = base.base_model(
        input_ids=torch.from_numpy(pack.ids)[None].to(device),
        position_ids=torch.from_numpy(pack.positions)[None].to(device),
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
