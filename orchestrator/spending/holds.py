"""What live work holds of the spend limits over it: granted piece by piece, given back when it ends.

Under a limit, what is charged this month and what is granted never exceed the cap together: who grants holds
the limit's row. Without a limit there is nothing to hold, unless an alert wants to know what running work
has cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_
from sqlalchemy import select as sql_select
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.spending import alerts
from orchestrator.spending.bill import Bill, grant
from orchestrator.spending.model import SpendAlert, SpendHold, SpendLimit
from orchestrator.spending.standing import ORGANIZATION, Standing, standings


@dataclass(frozen=True)
class Work:
    """A live batch or fine-tuning job, and whose it is."""

    resource_id: str
    organization_id: str
    project_id: str


@dataclass(frozen=True)
class Allowance:
    """What work may cost in all, in micro-dollars, None without a limit. `short` is the limit for which it
    cannot begin anything more just now; `final` if nothing that others hold will come free for it either."""

    granted: int | None
    short: Standing | None = None
    final: bool = False


UNLIMITED = Allowance(None)


def settle(tx: Session, work: Work, bill: Bill) -> Allowance:
    """Note what work has cost, and grant what it asks for if that is there. Cheap while it asks for nothing
    and no cap has been lowered: no row that others want is locked."""
    if not _watched(tx, work):
        return UNLIMITED
    limits = standings(tx, organization_id=work.organization_id, project_id=work.project_id)
    if not limits:
        _note(tx, work, bill, granted=bill.committed)
        _tell(tx, work)
        return UNLIMITED
    hold = tx.get(SpendHold, work.resource_id, populate_existing=True)
    enough = hold is not None and hold.granted_micros >= bill.committed and bill.wanted == 0
    if hold is not None and enough and all(limit.open >= 0 for limit in limits):
        _note(tx, work, bill, granted=hold.granted_micros)
        _tell(tx, work)
        return Allowance(hold.granted_micros)
    return _settle_locked(tx, work, bill)


def hold_all(tx: Session, work: Work, micros: int) -> Standing | None:
    """Hold the whole price of work that cannot stop half-way; the limit that does not have it, if one has
    not, and then nothing is held."""
    bill = Bill(wanted=micros, least=micros)
    allowance = settle(tx, work, bill)
    if allowance.short is not None:
        release(tx, work)
    return allowance.short


def hold_running(tx: Session, running: Sequence[tuple[Work, int]]) -> None:
    """Hold for work that runs already what it has cost or is bound to, whatever a limit has for it: called
    with the limit's row and the work's held, where a limit is set while it runs."""
    for work, micros in running:
        _note(tx, work, Bill(spent=micros), granted=micros, keep_more=True)


def release(tx: Session, work: Work) -> None:
    """The work has ended, and is charged in this transaction if it is at all: give back what it holds."""
    hold = tx.get(SpendHold, work.resource_id)
    if hold is not None:
        tx.delete(hold)
    tx.flush()
    _tell(tx, work)


def _watched(tx: Session, work: Work) -> bool:
    """Whether there is a limit or an alert over the work: one look, with every heartbeat of every batch."""
    over = [
        select(table.organization_id)
        .where(table.organization_id == work.organization_id)
        .where(col(table.project_id).in_((ORGANIZATION, work.project_id)))
        .exists()
        for table in (SpendLimit, SpendAlert)
    ]
    return bool(tx.execute(sql_select(or_(*over))).scalar())


def _settle_locked(tx: Session, work: Work, bill: Bill) -> Allowance:
    limits = standings(tx, organization_id=work.organization_id, project_id=work.project_id, lock=True)
    if not limits:
        return UNLIMITED
    hold = tx.get(SpendHold, work.resource_id, populate_existing=True)
    held = hold.granted_micros if hold else 0
    tightest = min(limits, key=lambda limit: limit.open)
    granted = grant(bill, granted=held, room=tightest.open + held)
    _note(tx, work, bill, granted=granted)
    _tell(tx, work)
    if bill.helped_by(granted):
        return Allowance(granted)
    others = tightest.unspent - ((held - hold.spent_micros) if hold else 0)
    return Allowance(granted, tightest, final=others <= 0 and bill.pending == 0)


def _note(tx: Session, work: Work, bill: Bill, *, granted: int, keep_more: bool = False) -> None:
    row = insert(SpendHold).values(
        resource_id=work.resource_id,
        organization_id=work.organization_id,
        project_id=work.project_id,
        granted_micros=granted,
        spent_micros=bill.spent,
        created_at=clock.now(),
    )
    new = row.excluded
    values: dict[str, Any] = {"granted_micros": new.granted_micros, "spent_micros": new.spent_micros}
    if keep_more:
        values["granted_micros"] = func.greatest(col(SpendHold.granted_micros), new.granted_micros)
    tx.execute(row.on_conflict_do_update(index_elements=["resource_id"], set_=values))


def _tell(tx: Session, work: Work) -> None:
    alerts.fire(tx, organization_id=work.organization_id, project_id=work.project_id)
