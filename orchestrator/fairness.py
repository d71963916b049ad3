"""Who may have how many lines in flight: weighted max-min shares of the engines of one model. Pure.

Every driver computes the whole division by itself from the same rows, so nobody has to hand out
anything: the same arguments give the same answer, whatever their order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_HALVINGS = 64  # of the interval that holds the level: beyond a double's precision


@dataclass(frozen=True)
class Demand:
    """What one batch wants: at most `lines` slots, at a `weight` above 0 against the others."""

    lines: int
    weight: float


def shares(slots: int, demands: Mapping[str, Demand]) -> dict[str, int]:
    """Whole slots for each batch, `slots` in all, or fewer if there are not as many lines.

    Weighted max-min: nobody can get more but at the cost of one that has less for its weight. A
    batch that wants anything gets at least one slot; with more batches than slots the heaviest do.
    """
    given = dict.fromkeys(demands, 0)
    wanting = sorted(
        (name for name in demands if demands[name].lines > 0),
        key=lambda name: (-demands[name].weight, name),
    )
    if slots <= len(wanting):
        return given | dict.fromkeys(wanting[: max(0, slots)], 1)
    slots = min(slots, sum(demands[name].lines for name in wanting))
    level = _level(slots, [demands[name] for name in wanting])
    for name in wanting:
        given[name] = int(_at(level, demands[name]))
    # What rounding down has left goes to whoever has least for its weight.
    for _ in range(slots - sum(given.values())):
        poorest = min(
            (name for name in wanting if given[name] < demands[name].lines),
            key=lambda name: ((given[name] + 1) / demands[name].weight, name),
        )
        given[poorest] += 1
    return given


def spread(shares: Mapping[str, int], capacities: Sequence[int]) -> dict[str, list[int]]:
    """Each batch's slots on each engine: in proportion to the capacities, and no engine overbooked.

    All slots are laid in one row in which the engines alternate as evenly as their capacities allow
    (slot j of c stands at (j + ½) / c), and the batches cut it up between them.
    """
    engine = np.repeat(np.arange(len(capacities)), capacities)
    place = np.concatenate([(np.arange(c) + 0.5) / c for c in capacities if c] or [np.empty(0)])
    row = engine[np.argsort(place, kind="stable")]
    if sum(shares.values()) > len(row):
        raise ValueError(f"{sum(shares.values())} slots are shared, but there are {len(row)}")
    spread: dict[str, list[int]] = {}
    start = 0
    for name in sorted(shares):
        mine = row[start : start + shares[name]]
        spread[name] = np.bincount(mine, minlength=len(capacities)).tolist()
        start += shares[name]
    return spread


def _at(level: float, demand: Demand) -> float:
    return min(float(demand.lines), max(1.0, level * demand.weight))


def _level(slots: int, demands: Sequence[Demand]) -> float:
    """The highest slots per weight at which all together ask for no more than `slots`."""
    low, high = 0.0, max((demand.lines / demand.weight for demand in demands), default=0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if sum(_at(middle, demand) for demand in demands) <= slots:
            low = middle
        else:
            high = middle
    return low
