"""Which examples a step takes, and how they lie in memory: one after the other, without padding.

Everything is a pure function of the spec: a resumed training, or one on a machine with other memory, takes
the same examples at the same steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.datasets.token_file import TokenFile

IGNORED = -100  # a target that nobody learns
# Lengths are rounded up to this before a model sees them: torch keeps compiled kernels and memory for every
# shape that it ever met, on a CPU some 50 MB a step where each is another.
SHAPE_STEP = 64

Tokens: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pack:
    """Sequences laid end to end: `ids`, `positions` and `targets` have one i64 a token.

    Positions begin at 0 in each sequence. A target is the next token of the same sequence, or `IGNORED`, so
    nothing is learnt over a boundary. Sequence i ends before `ends[i]`.
    """

    ids: Tokens
    positions: Tokens
    targets: Tokens
    ends: tuple[int, ...]


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """The last step of an epoch takes what is left."""
    return math.ceil(examples / batch_size)


def epoch_order(seed: int, epoch: int, examples: int) -> npt.NDArray[np.int64]:
    """The order of all examples in that epoch. numpy promises never to change this generator's numbers."""
    words = np.random.SeedSequence([seed % 2**64, epoch])
    return np.random.RandomState(np.random.MT19937(words)).permutation(examples)


def first_fit_decreasing(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Puts the longest first, each into the first bin that has room for it; returns the places in `lengths`
    by bin. At most 22% more bins than the best packing (Johnson 1973). What is longer than `room` has a bin
    of its own."""
    bins: list[list[int]] = []
    left: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        length = lengths[place]
        for number, free in enumerate(left):
            if length <= free:
                bins[number].append(place)
                left[number] -= length
                break
        else:
            bins.append([place])
            left.append(room - length)
    return bins


def packs(tokens: TokenFile, examples: Sequence[Sequence[int]], micro_tokens: int) -> list[Pack]:
    """Packs of at most `micro_tokens` tokens. An example is the numbers of its sequences, which stay
    together; one that is longer is a pack of its own."""
    lengths = [int(sum(tokens.lengths[number] for number in example)) for example in examples]
    return [
        lay_out(tokens, [number for place in places for number in examples[place]])
        for places in first_fit_decreasing(lengths, micro_tokens)
    ]


def lay_out(tokens: TokenFile, numbers: Sequence[int]) -> Pack:
    """The sequences of those numbers, in that order."""
    ids, positions, targets, ends = [], [], [], [0]
    for number in numbers:
        sequence = tokens[number]
        own = sequence.ids.astype(np.int64)
        following = np.full(len(own), IGNORED, np.int64)
        following[:-1] = np.where(sequence.learn[1:] == 1, own[1:], IGNORED)
        ids.append(own)
        positions.append(np.arange(len(own)))
        targets.append(following)
        ends.append(ends[-1] + len(own))
    return Pack(np.concatenate(ids), np.concatenate(positions), np.concatenate(targets), tuple(ends[1:]))


def padded(pack: Pack) -> tuple[Tokens, Tokens, tuple[int, ...]]:
    """A pack's ids, positions and ends, with one more sequence of nothing up to a round length."""
    missing = -len(pack.ids) % SHAPE_STEP
    if not missing:
        return pack.ids, pack.positions, pack.ends
    nothing = np.zeros(missing, np.int64)
    return (
        np.concatenate([pack.ids, nothing]),
        np.concatenate([pack.positions, np.arange(missing)]),
        (*pack.ends, len(pack.ids) + missing),
    )
