"""The loss of each learnt token under an output layer that is frozen.

Logits are the largest thing of a training: a row of the vocabulary's size for each token. So they are made
only for tokens that are learnt, a few rows at a time, and thrown away at once: since the layer itself learns
nothing, the gradient of its input is known as soon as the logits are, and it alone is kept.
"""

from typing import Any

import torch
from torch import Tensor

LOGITS_BYTES_MAX = 64 << 20  # of the rows in work, in fp32


def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and whether the likeliest token is the right one, of each row.

    `hidden` is [n, width], `weight` [vocabulary, width], `targets` [n]; returns f32 [n] and bool [n]. The
    softmax is done in fp32. Gradients flow to `hidden` only."""
    losses, right = _FrozenHead.apply(hidden, weight, targets, torch.is_grad_enabled())
    return losses, right


class _FrozenHead(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        right = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
        gradient = torch.empty_like(hidden) if with_gradient else None
        rows = max(1, LOGITS_BYTES_MAX // (4 * len(weight)))
        for start in range(0, len(targets), rows):
            chunk = slice(start, start + rows)
            wanted = targets[chunk, None]
            logits = (hidden[chunk] @ weight.T).float()
            right[chunk] = logits.argmax(dim=-1) == targets[chunk]
            normalizer = logits.logsumexp(dim=-1, keepdim=True)
            losses[chunk] = (normalizer - logits.gather(1, wanted))[:, 0]
            if gradient is not None:
                # d loss / d logits = softmax - 1 at the target
                surplus = logits.sub_(normalizer).exp_()
                surplus.scatter_add_(1, wanted, surplus.new_full(wanted.shape, -1.0))
                gradient[chunk] = surplus.to(weight.dtype) @ weight
        ctx.mark_non_differentiable(right)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses, right

    @staticmethod
    def backward(ctx: Any, of_losses: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * of_losses[:, None].to(gradient.dtype), None, None, None
