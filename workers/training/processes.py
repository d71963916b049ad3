"""The processes that train one adapter together, on a GPU each.

Each has the whole model and takes its share of every step's packs; gradients are summed before they are
clipped, so all make the same step, and it is the one that a single process would have made, but for rounding.
Only the first writes. With dropout a resumed training is another sample, since one process's random numbers
are kept, not all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """`rank` is the number of this one, from 0."""

    rank: int
    count: int

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """What of `items` this process is to do."""
        return items[self.rank :: self.count]

    def any(self, here: bool) -> bool:
        """Whether it is so in any of them. All must ask, at the same place."""
        if self.count == 1:
            return here
        flag = torch.tensor(int(here))
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag)

    def sums(self, *numbers: float) -> Sequence[float]:
        """Each number, summed over all of them."""
        if self.count == 1:
            return numbers
        values = torch.tensor(numbers, dtype=torch.float64)
        torch.distributed.all_reduce(values)
        summed: list[float] = values.tolist()
        return summed

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Puts into each the sum of all processes' gradients, in one exchange."""
        if self.count == 1:
            return
        learning = list(parameters)
        found = [torch.zeros_like(each) if each.grad is None else each.grad for each in learning]
        flat: Tensor = torch.cat([each.flatten() for each in found])
        torch.distributed.all_reduce(flat)
        for each, summed in zip(learning, flat.split([each.numel() for each in learning]), strict=True):
            each.grad = summed.view_as(each)


ALONE = Processes(0, 1)


def join() -> Processes:
    """Meets the others that `launch.argv` has started, if any."""
    if not torch.distributed.is_torchelastic_launched():
        return ALONE
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    found = Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())
    if torch.cuda.is_available():
        torch.cuda.set_device(found.rank)
    return found
