"""Reserved capacity: what an organization's batches get of a model whenever they have work.

A model's capacity is reserved by engines or by shares, not both: then what is promised can always be told.
Nothing stands idle for it. Who has no work lends it out, and has it back at once.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.engines.model import BatchDemand, Reservation
from orchestrator.engines.situation import Reserved
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.models.registry import ModelSpec, Registry

RESERVING = 0x72657365727665  # the advisory lock of whoever reserves ("reserve")
ROUNDING = 1e-9  # of shares, which are fractions: three thirds are one


def reserve(
    tx: Session,
    spec: ModelSpec,
    *,
    organization_id: str,
    engines: int = 0,
    share: float = 0.0,
    gpus: int,
    registry: Registry,
    actor: str,
) -> Reservation:
    """Reserve engines of a model, or a share of the places of all its engines, in place of what the
    organization had of it. `gpus` are those of the yard. Raises Invalid for neither or both, and for more
    than there is Conflict with the figures."""
    tx.execute(select(func.pg_advisory_xact_lock(RESERVING)))
    others = [row for row in everyone(tx) if (row.organization_id, row.model) != (organization_id, spec.id)]
    _check(spec, engines, share, others, gpus=gpus, registry=registry)
    row = tx.get(Reservation, (organization_id, spec.id))
    before = _figures(row) if row else None
    if row is None:
        row = Reservation(organization_id=organization_id, model=spec.id, created_at=clock.now())
    row.engines, row.share = engines, share
    tx.add(row)
    tx.flush()
    _record(tx, row, actor, before, _figures(row))
    return row


def end(tx: Session, *, organization_id: str, model: str, actor: str) -> Reservation:
    """Give back what is reserved of a model. Raises NotFound."""
    row = tx.get(Reservation, (organization_id, model))
    if row is None:
        raise NotFound(f"Organization '{organization_id}' has nothing reserved of the model '{model}'.")
    _record(tx, row, actor, _figures(row), None)
    tx.delete(row)
    return row


def everyone(tx: Session) -> Sequence[Reservation]:
    """Every reservation of the yard: a handful, made by its operator."""
    return tx.exec(select(Reservation).order_by(col(Reservation.created_at))).all()


def of_organization(tx: Session, organization_id: str) -> Sequence[Reservation]:
    """What one organization has reserved, oldest first."""
    theirs = select(Reservation).where(Reservation.organization_id == organization_id)
    return tx.exec(theirs.order_by(col(Reservation.created_at))).all()


def parts(tx: Session, engines: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """By model and organization, the part (0 to 1) of its places that is reserved, where it has so many
    engines now."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in tx.exec(select(Reservation).where(col(Reservation.model).in_(engines))):
        part = row.engines / max(1, engines[row.model]) if row.engines else row.share
        found[row.model][row.organization_id] = min(1.0, part)
    return dict(found)


def places(part: float, total: int) -> int:
    """Whole places of `total`, in favour of whoever has reserved them."""
    return math.ceil(part * total - ROUNDING)


def at_work(tx: Session, *, since: datetime) -> dict[str, int]:
    """By model, the engines that must be there for those who have reserved some and have work now, by demands
    no older than `since`. Of a share, one."""
    working = tx.exec(
        select(Reservation)
        .join(
            BatchDemand,
            (col(BatchDemand.organization_id) == col(Reservation.organization_id))
            & (col(BatchDemand.base) == col(Reservation.model)),
        )
        .where(col(BatchDemand.lines) > 0, col(BatchDemand.heartbeat_at) >= since)
        .distinct()
    )
    return engines_of(working)


def engines_of(rows: Iterable[Reservation]) -> dict[str, int]:
    """By model, the engines that these reservations take: those of all together, or one for their shares."""
    engines: Counter[str] = Counter()
    shared: set[str] = set()
    for row in rows:
        engines[row.model] += row.engines
        if row.share:
            shared.add(row.model)
    return {model: max(count, int(model in shared)) for model, count in engines.items()}


def kept_from_trainings(tx: Session, registry: Registry) -> list[Reserved]:
    """GPUs of reserved engines, with or without work now: a training would not give them back."""
    kept = []
    for row in everyone(tx):
        spec = registry.get(row.model)
        if row.engines and spec is not None:
            kept.append(Reserved(row.organization_id, row.engines * spec.gpus))
    return kept


def _check(
    spec: ModelSpec,
    engines: int,
    share: float,
    others: Sequence[Reservation],
    *,
    gpus: int,
    registry: Registry,
) -> None:
    if (engines > 0) == (share > 0) or engines < 0 or not 0 <= share <= 1:
        raise Invalid(
            f"Reserve either a number of engines, from 1, or a share, above 0 and at most 1; found engines "
            f"{engines} and share {share:g}.",
            param="engines" if engines else "share",
        )
    same = [row for row in others if row.model == spec.id]
    if any(bool(row.engines) != bool(engines) for row in same):
        kind = "shares" if engines else "engines"
        raise Conflict(
            f"Of the model '{spec.id}' {kind} are reserved already; a model's capacity is reserved by "
            "engines or by shares, not both."
        )
    reserved = sum(row.share for row in same)
    if reserved + share > 1 + ROUNDING:
        raise Conflict(
            f"Shares of '{spec.id}' would come to more than all of it: others have reserved {reserved:g}, "
            f"asked for {share:g}, so at most {max(0.0, 1 - reserved):g} is left."
        )
    if spec.url is not None:
        if engines:
            raise Invalid(
                f"The engines of '{spec.id}' are somebody else's, at an address: reserve a share of their "
                "places.",
                param="engines",
            )
        return
    asked = Reservation(organization_id="", model=spec.id, engines=engines, share=share)
    taken = _gpus(others, registry)
    wanted = _gpus([*others, asked], registry) - taken
    if taken + wanted > gpus:
        raise Conflict(
            f"Reserved engines would take more GPUs than there are: the yard has {gpus}, other reservations "
            f"take {taken}, and this one would take {wanted} more ({spec.gpus} for each engine of "
            f"'{spec.id}')."
        )


def _gpus(rows: Iterable[Reservation], registry: Registry) -> int:
    specs = {model: (count, registry.get(model)) for model, count in engines_of(rows).items()}
    return sum(count * spec.gpus for count, spec in specs.values() if spec is not None and spec.url is None)


def _figures(row: Reservation) -> dict[str, float]:
    return {"engines": row.engines, "share": row.share}


def _record(
    tx: Session,
    row: Reservation,
    actor: str,
    before: dict[str, float] | None,
    after: dict[str, float] | None,
) -> None:
    audit.record(
        tx,
        Action.RESERVATION_UPDATED if after else Action.RESERVATION_DELETED,
        organization_id=row.organization_id,
        actor=actor,
        subject_id=row.model,
        before=before,
        after=after,
    )
