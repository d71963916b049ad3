"""Which adapters an engine loads and unloads: a pure decision over what is wanted and what is there.

1. A deleted adapter goes once nobody wants it.
2. Wanted ones are loaded, most urgent first, then who has waited longest. Where there is no room, an idle one
   goes, the one least recently wanted; where all are wanted, the one that has had its turn (`TURN_SECONDS`)
   and is no more urgent than what waits.
3. Room left over is for adapters just published, newest first: their first batch is seldom far.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

TURN_SECONDS = 60


@dataclass(frozen=True)
class Resident:
    """An adapter that is wanted on the engine, or loaded. `priority` is that of the most urgent batch that
    wants it, None where none does; `wanted_at` since when it waits or, loaded, when it was last wanted."""

    adapter_id: str
    priority: int | None
    wanted_at: datetime
    loaded_at: datetime | None
    deleted: bool = False


@dataclass(frozen=True)
class Changes:
    unload: Sequence[str]
    load: Sequence[str]


def decide(
    residents: Sequence[Resident], published: Sequence[str], *, loaded_max: int, now: datetime
) -> Changes:
    """What to unload, then what to load. `published` are new adapters that nobody wants yet."""
    loaded = [r for r in residents if r.loaded_at is not None]
    unload = [r.adapter_id for r in loaded if r.deleted and r.priority is None]
    load: list[str] = []
    room = loaded_max - len(loaded) + len(unload)
    givers = sorted(
        (r for r in loaded if r.adapter_id not in unload and _may_go(r, now)),
        key=lambda r: (0, 0, r.wanted_at) if r.priority is None else (1, -r.priority, r.loaded_at or now),
    )
    waiting = [r for r in residents if r.loaded_at is None and r.priority is not None]
    for one in sorted(waiting, key=lambda r: (r.priority or 0, r.wanted_at)):
        if room > 0:
            room -= 1
        elif givers and _gives_way(givers[0], one):
            unload.append(givers.pop(0).adapter_id)
        else:
            break
        load.append(one.adapter_id)
    return Changes(unload, load + list(published[: max(0, room)]))


def _may_go(resident: Resident, now: datetime) -> bool:
    """Idle, or loaded for a turn's time."""
    if resident.priority is None or resident.loaded_at is None:
        return True
    return now - resident.loaded_at >= timedelta(seconds=TURN_SECONDS)


def _gives_way(resident: Resident, waiting: Resident) -> bool:
    if resident.priority is None or waiting.priority is None:
        return True
    return waiting.priority <= resident.priority
