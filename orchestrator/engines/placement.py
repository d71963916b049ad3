"""Which engines to start, stop or give up on, and which trainings to start: a pure decision over what is
wanted and what runs.

The rules, in order:
1. An engine that nobody has needed for its model's idle time is drained.
2. Models that are wanted and have no engine, and trainings that are due, get free GPUs: most urgent first,
   then who has waited longest. A model whose adapters are wanted needs an engine that takes adapters.
3. If too few are free, room is made for one of them at a time. First goes the model's own engine that takes
   no adapters, then what has been idle longest, then what is busy, has had its turn (`TURN_SECONDS`) and is
   no more urgent. To a training that is more urgent a busy engine gives way at once: its lines wait, and go
   on when it is back. A training, once begun, keeps its GPUs to its end.
4. GPUs that a training waits for and can get go to no less urgent engine, and those that anybody waits for
   to no less urgent training.
5. GPUs left over go to models with far more lines than their engines take at once.
A model whose engines failed `FAILURES_MAX` times in a row without one becoming ready is given up; before
that each restart waits twice as long as the last. An engine takes adapters from its start, or never: one is
started so, too, if an adapter for its model is being trained.
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
    """What running batches want of one base model and its adapters, all of them together."""

    model: str
    lines: int
    priority: int  # of the most urgent batch; smaller is sooner
    since: datetime  # when its lines began to wait, anew each time its engine was put aside
    gpus: int
    capacity: int
    idle_seconds: int
    lora: bool = False  # some lines name an adapter


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
    lora: bool = False


@dataclass(frozen=True)
class Training:
    """One training that waits for GPUs, or has them. Until it is `due` it takes none."""

    job_id: str
    base: str
    gpus: int
    priority: int
    since: datetime
    due: bool = True


@dataclass(frozen=True)
class Failures:
    """Engines of one model that failed since the last one that became ready."""

    count: int
    last_at: datetime
    last_words: str


@dataclass(frozen=True)
class Start:
    model: str
    lora: bool = False


@dataclass(frozen=True)
class Drain:
    engine_id: str
    reason: str


@dataclass(frozen=True)
class GiveUp:
    model: str
    last_words: str


@dataclass(frozen=True)
class Train:
    job_id: str


Decision = Start | Drain | GiveUp | Train
Claim = Wanted | Training


def decide(
    *,
    gpus: int,
    wanted: Iterable[Wanted],
    running: Sequence[Running],
    failures: Mapping[str, Failures],
    now: datetime,
    waiting: Sequence[Training] = (),
    training: Sequence[Training] = (),
) -> list[Decision]:
    """What to do now. At most one engine is started per model, and room made for one claim, per call.

    `waiting` are trainings without GPUs, `training` those that have theirs.
    """
    demand = {w.model: w for w in wanted if w.lines > 0}
    decisions: list[Decision] = [
        Drain(e.id, "idle")
        for e in running
        if e.status is EngineStatus.READY and e.model not in demand and _idle(e, now)
    ]
    making_room = bool(decisions) or any(e.status is EngineStatus.DRAINING for e in running)
    decisions += [
        GiveUp(model, failures[model].last_words) for model in demand if _hopeless(failures.get(model))
    ]
    startable = [w for w in demand.values() if _may_start(failures.get(w.model), now)]
    with_lora = {t.base for t in (*waiting, *training)} | {w.model for w in startable if w.lora}
    free = gpus - sum(e.gpus for e in running) - sum(t.gpus for t in training)
    unpromised = free  # by what anybody more urgent waits for

    claims: list[Claim] = [w for w in startable if not _serving(w, running)]
    claims += [t for t in waiting if t.due and t.gpus <= gpus]
    for claim in sorted(claims, key=lambda c: (c.priority, c.since)):
        available = unpromised if isinstance(claim, Training) else free
        if claim.gpus <= available:
            decisions.append(_granted(claim, with_lora))
            free -= claim.gpus
            unpromised = max(0, unpromised - claim.gpus)
            continue
        if not making_room and (victims := _victims(claim, claim.gpus - free, running, demand, now)):
            decisions += [Drain(e.id, _reason(claim, e)) for e in victims]
            making_room = True
        if isinstance(claim, Training) and _in_reach(claim, free, running, demand):
            free = 0
        unpromised = 0

    for want in sorted(startable, key=lambda w: (w.priority, w.since)):
        if _overfull(want, _serving(want, running)) and want.gpus <= unpromised:
            decisions.append(_granted(want, with_lora))
            unpromised -= want.gpus
    return decisions


def backoff(failures: int) -> timedelta:
    """How long to wait after the nth failure in a row before the next start."""
    return timedelta(seconds=min(BACKOFF_SECONDS * 2 ** (failures - 1), BACKOFF_SECONDS_MAX))


_COUNTED = (EngineStatus.REQUESTED, EngineStatus.STARTING, EngineStatus.READY)


def _idle(engine: Running, now: datetime) -> bool:
    return now - engine.needed_at >= timedelta(seconds=engine.idle_seconds)


def _hopeless(failed: Failures | None) -> bool:
    return failed is not None and failed.count >= FAILURES_MAX


def _may_start(failed: Failures | None, now: datetime) -> bool:
    return failed is None or (not _hopeless(failed) and now >= failed.last_at + backoff(failed.count))


def _serving(want: Wanted, running: Sequence[Running]) -> list[Running]:
    """Engines there are or will be that take all of its lines."""
    return [
        e for e in running if e.model == want.model and e.status in _COUNTED and (e.lora or not want.lora)
    ]


def _granted(claim: Claim, with_lora: set[str]) -> Start | Train:
    if isinstance(claim, Training):
        return Train(claim.job_id)
    return Start(claim.model, lora=claim.model in with_lora)


def _reason(claim: Claim, engine: Running) -> str:
    if isinstance(claim, Training):
        return f"to make room for a training of {claim.base}"
    if engine.model == claim.model:
        return "to come back with adapters"
    return f"to make room for {claim.model}"


def _overfull(want: Wanted, engines: Sequence[Running]) -> bool:
    """Whether the lines justify another engine: all there are answer, and are filled many times over."""
    all_ready = bool(engines) and all(e.status is EngineStatus.READY for e in engines)
    return all_ready and want.lines > SCALE_OUT_FILLS * want.capacity * len(engines)


def _victims(
    claim: Claim, missing: int, running: Sequence[Running], demand: Mapping[str, Wanted], now: datetime
) -> list[Running]:
    """The engines whose GPUs should go to the claim, none where too few give way now."""
    own = claim.model if isinstance(claim, Wanted) else None
    yielding = [e for e in running if _yields(e, claim, demand, now)]
    chosen: list[Running] = []
    for engine in sorted(
        yielding,
        key=lambda e: (
            e.model != own,
            e.model in demand,
            -demand[e.model].priority if e.model in demand else 0,
            (e.ready_at or now) if e.model in demand else e.needed_at,
        ),
    ):
        if sum(e.gpus for e in chosen) < missing:
            chosen.append(engine)
    if sum(e.gpus for e in chosen) < missing:
        return []
    for engine in chosen[:-1]:  # the last may suffice without the smaller ones before it
        if sum(e.gpus for e in chosen) - engine.gpus >= missing:
            chosen.remove(engine)
    return chosen


def _yields(engine: Running, claim: Claim, demand: Mapping[str, Wanted], now: datetime) -> bool:
    """Whether the engine gives way to the claim now."""
    if engine.status not in _COUNTED:
        return False
    rival = demand.get(engine.model)
    if rival is None or rival is claim:
        return True
    if isinstance(claim, Training) and claim.priority < rival.priority:
        return True
    had_its_turn = engine.ready_at is not None and now - engine.ready_at >= timedelta(seconds=TURN_SECONDS)
    return had_its_turn and claim.priority <= rival.priority


def _in_reach(claim: Training, free: int, running: Sequence[Running], demand: Mapping[str, Wanted]) -> bool:
    """Whether engines that end, or give way now or after their turn, leave it enough GPUs."""
    losing = [
        e
        for e in running
        if e.status not in _COUNTED or e.model not in demand or claim.priority <= demand[e.model].priority
    ]
    return claim.gpus <= free + sum(e.gpus for e in losing)
