"""Who may have how many lines in flight: weighted max-min shares of the engines of one model. Pure.

Every driver computes the whole division by itself from the same rows, so nobody has to hand out
anything: the same arguments give the same answer, whatever their order.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_HALVINGS = 64  # of the interval that holds the level: beyond a double's precision
NOTHING_RESERVED: Mapping[str, int] = {}


@dataclass(frozen=True)
class Demand:
    """What one batch wants: at most `lines` slots, at a `weight` above 0 against the others. `owner` is whose
    it is, for what is reserved."""

    lines: int
    weight: float
    owner: str = ""


def shares(
    slots: int, demands: Mapping[str, Demand], *, reserved: Mapping[str, int] = NOTHING_RESERVED
) -> dict[str, int]:
    """Whole slots for each batch, `slots` in all, or fewer if there are not as many lines.

    First an owner's batches have what is `reserved` for it, as far as they want it; where there are too few
    slots, in proportion to what is reserved. Then every other batch that wants anything has one slot; if
    there are not enough for that, the heaviest do. The rest is weighted max-min over all: nobody can get more
    but at the cost of one that has less for its weight, or what is reserved.
    """
    floors = _floors(slots, demands, reserved)
    given = dict.fromkeys(demands, 0) | floors
    wanting = [name for name in floors if floors[name] < demands[name].lines]
    left = min(slots, sum(demand.lines for demand in demands.values())) - sum(floors.values())
    if left <= 0:
        return given
    level = _level(sum(floors[name] for name in wanting) + left, demands, floors, wanting)
    for name in wanting:
        given[name] = int(_at(level, demands[name], floors[name]))
    # What rounding down has left goes to whoever has least for its weight.
    for _ in range(left - sum(given[name] - floors[name] for name in wanting)):
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


def _floors(slots: int, demands: Mapping[str, Demand], reserved: Mapping[str, int]) -> dict[str, int]:
    """What each batch that wants anything has whatever the others weigh."""
    heaviest = sorted(
        (name for name in demands if demands[name].lines > 0),
        key=lambda name: (-demands[name].weight, name),
    )
    own: dict[str, dict[str, Demand]] = defaultdict(dict)
    for name in heaviest:
        if reserved.get(demands[name].owner, 0) > 0:
            own[demands[name].owner][name] = demands[name]
    claims = {
        owner: Demand(min(reserved[owner], sum(demand.lines for demand in theirs.values())), reserved[owner])
        for owner, theirs in own.items()
    }
    floors = dict.fromkeys(heaviest, 0)
    for owner, count in (shares(slots, claims) if claims else {}).items():
        floors |= shares(count, own[owner])
    without = [name for name in heaviest if not floors[name]]
    return floors | dict.fromkeys(without[: max(0, slots - sum(floors.values()))], 1)


def _at(level: float, demand: Demand, floor: int) -> float:
    return min(float(demand.lines), max(float(floor), level * demand.weight))


def _level(
    slots: int, demands: Mapping[str, Demand], floors: Mapping[str, int], names: Sequence[str]
) -> float:
    """The highest slots per weight at which all together ask for no more than `slots`."""
    low, high = 0.0, max((demands[name].lines / demands[name].weight for name in names), default=0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if sum(_at(middle, demands[name], floors[name]) for name in names) <= slots:
            low = middle
        else:
            high = middle
    return low
