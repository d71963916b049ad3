"""Which engines give their GPUs to a claim. Pure: a part of placement's decision."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from orchestrator.engines.situation import COUNTED, Claim, Running, Training, Wanted, owed

TURN_SECONDS = 600


def victims(
    claim: Claim,
    missing: int,
    running: Sequence[Running],
    demand: Mapping[str, Wanted],
    kept: set[str],
    now: datetime,
) -> list[Running]:
    """The engines whose GPUs should go to the claim, none where too few give way now."""
    own = claim.model if isinstance(claim, Wanted) else None
    yielding = [e for e in running if _yields(e, claim, demand, kept, reserved=owed(claim, running), now=now)]
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


def _yields(
    engine: Running,
    claim: Claim,
    demand: Mapping[str, Wanted],
    kept: set[str],
    *,
    reserved: bool,
    now: datetime,
) -> bool:
    """Whether the engine gives way to the claim now; `reserved` is one that claims what is its own."""
    if engine.status not in COUNTED:
        return False
    rival = demand.get(engine.model)
    if rival is not None and rival is claim:
        return rival.lora and not engine.lora
    if engine.id in kept:
        return False
    if rival is None or reserved or (rival.trial and not (isinstance(claim, Wanted) and claim.trial)):
        return True
    if isinstance(claim, Training) and claim.priority < rival.priority:
        return True
    had_its_turn = engine.ready_at is not None and now - engine.ready_at >= timedelta(seconds=TURN_SECONDS)
    return had_its_turn and claim.priority <= rival.priority


def in_reach(
    claim: Claim,
    free: int,
    running: Sequence[Running],
    demand: Mapping[str, Wanted],
    kept: set[str],
) -> bool:
    """Whether engines that end, or give way now or after their turn, leave a training enough GPUs: then they
    are kept for it."""
    if not isinstance(claim, Training):
        return False
    losing = [
        e
        for e in running
        if e.id not in kept
        and (e.status not in COUNTED or e.model not in demand or claim.priority <= demand[e.model].priority)
    ]
    return claim.gpus <= free + sum(e.gpus for e in losing)
