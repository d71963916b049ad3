"""Muon: momentum whose step has all singular values near one, for weights that are matrices.

The form of https://kellerjordan.github.io/posts/muon/, in the weights' own precision. `torch.optim.Muon`
turns to bfloat16 for it, which processors without such instructions multiply ten times as slowly as float32:
there it took two thirds of the smoke model's making.
"""

from collections.abc import Iterable

import torch

MOMENTUM = 0.95
WEIGHT_DECAY = 0.01
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # steep at zero, so that five iterations are enough
NORM_MIN = 1e-7


class Muon(torch.optim.Optimizer):  # type: ignore[misc]  # torch is not where types are checked
    """One group of matrices at one rate, with Nesterov's momentum and decoupled weight decay."""

    def __init__(self, matrices: Iterable[torch.nn.Parameter], rate: float) -> None:
        super().__init__(matrices, {"lr": rate})

    def step(self) -> None:
        """Apply the gradients that are there."""
        with torch.no_grad():
            for group in self.param_groups:
                for matrix in group["params"]:
                    self._step(matrix, group["lr"])

    def _step(self, matrix: torch.nn.Parameter, rate: float) -> None:
        momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
        momentum.lerp_(matrix.grad, 1 - MOMENTUM)
        rows, columns = matrix.shape
        scale = max(1.0, rows / columns) ** 0.5
        matrix.mul_(1 - rate * WEIGHT_DECAY)
        matrix.sub_(orthogonal(matrix.grad.lerp(momentum, MOMENTUM)), alpha=rate * scale)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Of the same shape and singular vectors, with singular values near one, by Newton and Schulz."""
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.size(0) <= matrix.size(1) else matrix.T
    wide = wide / wide.norm().clamp(min=NORM_MIN)
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.size(0) <= matrix.size(1) else wide.T
