"""Which engines to start, stop or give up on: a pure decision over what is wanted and what runs.

The rules, in order:
1. An engine that nobody has needed for its model's idle time is drained.
2. A model that is wanted and has no engine gets one, most urgent demand first, if the GPUs are free.
3. If they are not, room is made: the engine that has been idle longest is drained, or, when all are busy,
   one that has had its turn (`TURN_SECONDS`) and whose demand is no more urgent than what waits.
4. GPUs left over go to models with far more lines than their engines take at once.
A model whose engines failed `FAILURES_MAX` times in a row without one becoming ready is given up; before
that each restart waits twice as long as the last.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.engines.model import EngineStatus

TURN_SECONDS = 600
FAILURES_MAX = 3
BACKOFF_SECONDS = 5
BACKOFF_SECONDS_MAX = 300
SCALE_OUT_FILLS = 8  # another engine once the lines would fill those there are this many times over


@dataclass(frozen=True)
class Wanted:
    """What running batches want of one model, all of them together."""

    model: str
    lines: int
    priority: int  # of the most urgent batch; smaller is sooner
    since: datetime
    gpus: int
    capacity: int
    idle_seconds: int


@dataclass(frozen=True)
class Running:
    """One live engine."""

    id: str
    model: str
    status: EngineStatus
    gpus: int
    ready_at: datetime | None
    needed_at: datetime
    idle_seconds: int


@dataclass(frozen=True)
class Failures:
    """Engines of one model that failed since the last one that became ready."""

    count: int
    last_at: datetime
    last_words: str


@dataclass(frozen=True)
class Start:
    model: str


@dataclass(frozen=True)
class Drain:
    engine_id: str
    reason: str


@dataclass(frozen=True)
class GiveUp:
    model: str
    last_words: str


Decision = Start | Drain | GiveUp


def decide(
    *,
    gpus: int,
    wanted: Iterable[Wanted],
    running: Sequence[Running],
    failures: Mapping[str, Failures],
    now: datetime,
) -> list[Decision]:
    """What to do now. At most one engine is started per model and one drained to make room per call."""
    demand = {w.model: w for w in wanted if w.lines > 0}
    decisions: list[Decision] = [
        Drain(e.id, "idle")
        for e in running
        if e.status is EngineStatus.READY and e.model not in demand and _idle(e, now)
    ]
    draining = {d.engine_id for d in decisions if isinstance(d, Drain)}
    free = gpus - sum(e.gpus for e in running)
    made_room = bool(draining) or any(e.status is EngineStatus.DRAINING for e in running)

    for want in sorted(demand.values(), key=lambda w: (w.priority, w.since)):
        failed = failures.get(want.model)
        if failed and failed.count >= FAILURES_MAX:
            decisions.append(GiveUp(want.model, failed.last_words))
            continue
        if failed and now < failed.last_at + backoff(failed.count):
            continue
        engines = [e for e in running if e.model == want.model and e.status in _COUNTED]
        if engines and not _overfull(want, engines):
            continue
        if want.gpus <= free:
            decisions.append(Start(want.model))
            free -= want.gpus
        elif not engines and not made_room and (victim := _victim(want, running, demand, now)):
            decisions.append(Drain(victim.id, f"to make room for {want.model}"))
            made_room = True
    return decisions


def backoff(failures: int) -> timedelta:
    """How long to wait after the nth failure in a row before the next start."""
    return timedelta(seconds=min(BACKOFF_SECONDS * 2 ** (failures - 1), BACKOFF_SECONDS_MAX))


_COUNTED = (EngineStatus.REQUESTED, EngineStatus.STARTING, EngineStatus.READY)


def _idle(engine: Running, now: datetime) -> bool:
    return now - engine.needed_at >= timedelta(seconds=engine.idle_seconds)


def _overfull(want: Wanted, engines: Sequence[Running]) -> bool:
    """Whether the lines justify another engine: all there are answer, and are filled many times over."""
    all_ready = all(e.status is EngineStatus.READY for e in engines)
    return all_ready and want.lines > SCALE_OUT_FILLS * want.capacity * len(engines)


def _victim(
    want: Wanted, running: Sequence[Running], demand: Mapping[str, Wanted], now: datetime
) -> Running | None:
    """The engine whose GPUs should go to `want`, or None if each has a better claim to them."""
    ready = [e for e in running if e.status is EngineStatus.READY and e.gpus >= want.gpus]
    idle = [e for e in ready if e.model not in demand]
    if idle:
        return min(idle, key=lambda e: e.needed_at)
    turn = timedelta(seconds=TURN_SECONDS)
    served = [
        e
        for e in ready
        if e.ready_at is not None and now - e.ready_at >= turn and demand[e.model].priority >= want.priority
    ]
    return min(served, key=lambda e: (-demand[e.model].priority, e.ready_at or now), default=None)
