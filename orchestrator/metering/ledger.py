"""The one place that charges: a ledger row and the balance that it changes, in one transaction."""

from collections.abc import Mapping
from datetime import date, datetime

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.metering.model import Spent, Usage, UsageKind


def charge(
    tx: Session,
    *,
    key: str,
    kind: UsageKind,
    organization_id: str,
    project_id: str,
    resource_id: str,
    model: str,
    used: Mapping[str, int],
    prices: Mapping[str, float],
    cost_micros: int,
) -> Usage:
    """Charge once: `key` makes a second row impossible. `used` counts "lines" (1 of a synchronous
    request), "input_tokens" (of which "cached_tokens"), "output_tokens" and "trained_tokens"; `prices` are as
    in Usage."""
    now = clock.now()
    row = Usage(
        id=ids.new("usage_"),
        idempotency_key=key,
        kind=kind,
        organization_id=organization_id,
        project_id=project_id,
        resource_id=resource_id,
        model=model,
        lines=used.get("lines", 0),
        input_tokens=used.get("input_tokens", 0),
        cached_tokens=used.get("cached_tokens", 0),
        output_tokens=used.get("output_tokens", 0),
        trained_tokens=used.get("trained_tokens", 0),
        prices=dict(prices),
        cost_micros=cost_micros,
        at=now,
    )
    tx.add(row)
    balance = insert(Spent).values(
        organization_id=organization_id, project_id=project_id, month=month_of(now), micros=cost_micros
    )
    added = {"micros": col(Spent.micros) + balance.excluded.micros}
    tx.execute(
        balance.on_conflict_do_update(index_elements=["organization_id", "project_id", "month"], set_=added)
    )
    return row


def spent_micros(tx: Session, organization_id: str, *, month: date, project_id: str | None = None) -> int:
    """What an organization, or one project of it, was charged in the month whose first day this is."""
    theirs = [Spent.organization_id == organization_id, Spent.month == month]
    if project_id is not None:
        theirs.append(Spent.project_id == project_id)
    return int(tx.exec(select(func.coalesce(func.sum(Spent.micros), 0)).where(*theirs)).one())


def month_of(moment: datetime) -> date:
    """The first day of the month, in UTC: limits and invoices run from the 1st."""
    return moment.date().replace(day=1)


def next_month(month: date) -> date:
    """The first day of the month after."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)
