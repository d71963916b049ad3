"""Which engines to start, stop or give up on, and which trainings to start: a pure decision over what is
wanted and what runs.

The rules, in order:
0. What is reserved comes before all else: while an organization that has reserved engines of a model has work
   for it, so many are started before anything else is, whatever is busy on their GPUs gives way at once, and
   they are put aside for nobody. Others use them and their GPUs for as long as it has none; but trainings,
   which keep their GPUs to the end, never have those of another organization's reserved engines.
1. An engine that nobody has needed for its model's idle time is drained.
2. Models that are wanted and have no engine, and trainings that are due, get free GPUs: most urgent first,
   then who has waited longest. A model whose adapters are wanted needs an engine that takes adapters.
3. If too few are free, room is made for one of them at a time. First goes the model's own engine that takes
   no adapters, then what has been idle longest, then what only synchronous requests have asked for of late,
   then what is busy, has had its turn (`TURN_SECONDS`) and is no more urgent. To a training that is more
   urgent a busy engine gives way at once: its lines wait, and go on when it is back. A training, once begun,
   keeps its GPUs to its end.
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

from orchestrator.engines.giving_way import in_reach, victims
from orchestrator.engines.model import EngineStatus
from orchestrator.engines.situation import (
    Claim,
    Failures,
    Reserved,
    Running,
    Training,
    Wanted,
    kept,
    owed,
    serving,
)

FAILURES_MAX = 3
BACKOFF_SECONDS = 5
BACKOFF_SECONDS_MAX = 300
SCALE_OUT_FILLS = 8  # another engine once the lines would fill those there are this many times over


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


def decide(
    *,
    gpus: int,
    wanted: Iterable[Wanted],
    running: Sequence[Running],
    failures: Mapping[str, Failures],
    now: datetime,
    waiting: Sequence[Training] = (),
    training: Sequence[Training] = (),
    reserved: Sequence[Reserved] = (),
) -> list[Decision]:
    """What to do now. At most one engine is started per model, and room made for one claim, per call.

    `waiting` are trainings without GPUs, `training` those that have theirs.
    """
    demand = {w.model: w for w in wanted if w.lines > 0}
    own = kept(demand, running)
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

    lent_out = sum(t.gpus for t in training)  # until those trainings end

    claims: list[Claim] = [w for w in startable if owed(w, running) or not serving(w, running)]
    claims += [t for t in waiting if t.due and t.gpus <= gpus - _reserved_by_others(t, reserved)]
    for claim in sorted(claims, key=lambda c: (not owed(c, running), c.priority, c.since)):
        trains = isinstance(claim, Training)
        if trains and claim.gpus > gpus - _reserved_by_others(claim, reserved) - lent_out:
            unpromised = 0
            continue
        if claim.gpus <= (unpromised if trains else free):
            decisions.append(_granted(claim, with_lora))
            free -= claim.gpus
            unpromised = max(0, unpromised - claim.gpus)
            lent_out += claim.gpus if trains else 0
            continue
        if not making_room and (giving := victims(claim, claim.gpus - free, running, demand, own, now)):
            decisions += [Drain(e.id, _reason(claim, e)) for e in giving]
            making_room = True
        if owed(claim, running) or in_reach(claim, free, running, demand, own):
            free = 0
        unpromised = 0

    for want in sorted(startable, key=lambda w: (w.priority, w.since)):
        if _overfull(want, serving(want, running)) and want.gpus <= unpromised:
            decisions.append(_granted(want, with_lora))
            unpromised -= want.gpus
    return decisions


def backoff(failures: int) -> timedelta:
    """How long to wait after the nth failure in a row before the next start."""
    return timedelta(seconds=min(BACKOFF_SECONDS * 2 ** (failures - 1), BACKOFF_SECONDS_MAX))


def _idle(engine: Running, now: datetime) -> bool:
    return now - engine.needed_at >= timedelta(seconds=engine.idle_seconds)


def _hopeless(failed: Failures | None) -> bool:
    return failed is not None and failed.count >= FAILURES_MAX


def _may_start(failed: Failures | None, now: datetime) -> bool:
    return failed is None or (not _hopeless(failed) and now >= failed.last_at + backoff(failed.count))


def _reserved_by_others(claim: Claim, reserved: Sequence[Reserved]) -> int:
    """GPUs that a training may not have."""
    own = claim.organization_id if isinstance(claim, Training) else None
    return sum(r.gpus for r in reserved if r.organization_id != own)


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
