"""What an organization owes for a month: its ledger, line by line, at the prices that applied."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from sqlalchemy import BigInteger, cast, func, select
from sqlmodel import Session, col

from orchestrator.metering.ledger import month_of, next_month
from orchestrator.metering.model import Spent, Usage, UsageKind

LINES_MAX = 1_000  # on one invoice, the costliest; the rest is one more
SETTLED_AFTER = timedelta(hours=1)  # a charge dated before midnight may commit after it


class InvoiceStatus(StrEnum):
    DRAFT = "draft"  # its month runs, or has just ended
    FINAL = "final"


@dataclass(frozen=True)
class InvoiceLine:
    """What one project used of one model for one kind of work at one price. `prices` are those of a ledger
    row. The cost is the sum of its charges, each of which was rounded down."""

    project_id: str
    kind: UsageKind
    model: str
    prices: Mapping[str, float]
    lines: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    trained_tokens: int
    cost_micros: int


@dataclass(frozen=True)
class Invoice:
    """`more_micros` is what lines beyond LINES_MAX cost together."""

    month: date
    status: InvoiceStatus
    lines: tuple[InvoiceLine, ...]
    more_micros: int
    total_micros: int


def invoice(tx: Session, *, organization_id: str, month: date, now: datetime) -> Invoice:
    """The invoice of the month whose first day this is, as it stands now."""
    start, end = period(month)
    sums = [cast(func.sum(getattr(Usage, name)), BigInteger) for name in _SUMMED]
    keys = (col(Usage.project_id), col(Usage.kind), col(Usage.model), col(Usage.prices))
    theirs = (col(Usage.organization_id) == organization_id, col(Usage.at) >= start, col(Usage.at) < end)
    rows = tx.execute(
        select(*keys, *sums)
        .where(*theirs)
        .group_by(*keys)
        .order_by(sums[-1].desc(), *keys[:3])
        .limit(LINES_MAX)
    )
    lines = tuple(InvoiceLine(*row) for row in rows)
    total = tx.execute(select(func.coalesce(func.sum(Usage.cost_micros), 0)).where(*theirs)).scalar_one()
    return Invoice(
        month=month,
        status=status_of(month, now),
        lines=lines,
        more_micros=int(total) - sum(line.cost_micros for line in lines),
        total_micros=int(total),
    )


def totals(tx: Session, *, organization_id: str, first: date, last: date) -> dict[date, int]:
    """What each month from `first` to `last` cost, newest first; one without a charge cost nothing."""
    rows = tx.execute(
        select(col(Spent.month), cast(func.sum(Spent.micros), BigInteger).label("micros"))
        .where(
            col(Spent.organization_id) == organization_id,
            col(Spent.month) >= first,
            col(Spent.month) <= last,
        )
        .group_by(col(Spent.month))
    )
    spent = {row.month: row.micros for row in rows}
    months = [first]
    while months[-1] < last:
        months.append(next_month(months[-1]))
    return {month: spent.get(month, 0) for month in reversed(months)}


def status_of(month: date, now: datetime) -> InvoiceStatus:
    """Whether the month's ledger can still grow."""
    return InvoiceStatus.FINAL if now >= period(month)[1] + SETTLED_AFTER else InvoiceStatus.DRAFT


def period(month: date) -> tuple[datetime, datetime]:
    """The month's first moment, and the next one's, in UTC."""
    return _midnight(month), _midnight(next_month(month))


def named(month: str) -> date | None:
    """The first day of the month `2026-11`; None for what is no month."""
    try:
        return month_of(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)) if len(month) == 7 else None
    except ValueError:
        return None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


_SUMMED: tuple[str, ...] = tuple(InvoiceLine.__dataclass_fields__)[4:]
