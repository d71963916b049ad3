"""How a spend limit stands: what is charged, what live work holds of it, what is left, and when it resets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from sqlalchemy import func
from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.metering.ledger import month_of, next_month
from orchestrator.metering.model import Spent
from orchestrator.metering.prices import dollars
from orchestrator.spending.model import SpendHold, SpendLimit

ORGANIZATION = ""  # the project_id of what speaks for a whole organization


@dataclass(frozen=True)
class Spending:
    """Micro-dollars of one month: `charged` in the ledger, `granted` to live work, and what that has spent
    of it so far."""

    month: date
    charged: int
    granted: int
    running: int

    @property
    def spent(self) -> int:
        """What is charged, and what will be even if everything stops now."""
        return self.charged + self.running

    @property
    def resets_at(self) -> datetime:
        """The beginning of the next month, in UTC."""
        return datetime.combine(next_month(self.month), time(), UTC)


@dataclass(frozen=True)
class Standing:
    """A limit and the spending under it."""

    limit: SpendLimit
    spending: Spending

    @property
    def open(self) -> int:
        """What nobody has spent or holds; less than nothing under a cap that was lowered."""
        return self.limit.cap_micros - self.spending.charged - self.spending.granted

    @property
    def unspent(self) -> int:
        """What live work holds and has not spent: some of it may come free."""
        return self.spending.granted - self.spending.running

    @property
    def reached(self) -> bool:
        """Whether nothing new may begin: all is spent, or work had to stop in this month."""
        stopped = self.limit.reached_at
        return self.spending.spent >= self.limit.cap_micros or (
            stopped is not None and month_of(stopped) == self.spending.month
        )

    def words(self) -> str:
        """The figures in a sentence, and who can change them how."""
        whose = f"project {self.limit.project_id}" if self.limit.project_id else "organization"
        path = f"/projects/{self.limit.project_id}" if self.limit.project_id else ""
        return (
            f"The spend limit of your {whose} is {dollars(self.limit.cap_micros)} a month: "
            f"{dollars(self.spending.spent)} spent, {dollars(self.unspent)} held by running work. It resets "
            f"on {self.spending.resets_at:%Y-%m-%d} (UTC). An owner can raise it at once: "
            f"POST /v1/organization{path}/spend_limit, or `yard spend limit`."
        )


def spending(tx: Session, organization_id: str, *, project_id: str = ORGANIZATION) -> Spending:
    """What an organization, or one project of it, spends this month. Read in one statement: work that is
    charged just now is either held or charged, never neither."""
    month = month_of(clock.now())
    charged = [Spent.organization_id == organization_id, Spent.month == month]
    held = [SpendHold.organization_id == organization_id]
    if project_id:
        charged.append(Spent.project_id == project_id)
        held.append(SpendHold.project_id == project_id)
    sums = tx.exec(
        select(
            select(func.coalesce(func.sum(Spent.micros), 0)).where(*charged).scalar_subquery(),
            select(func.coalesce(func.sum(SpendHold.granted_micros), 0)).where(*held).scalar_subquery(),
            select(func.coalesce(func.sum(SpendHold.spent_micros), 0)).where(*held).scalar_subquery(),
        )
    ).one()
    return Spending(month, *(int(micros) for micros in sums))


def standings(
    tx: Session, *, organization_id: str, project_id: str, lock: bool = False
) -> Sequence[Standing]:
    """How the limits over a project stand: its organization's, then its own. With `lock` their rows are held
    for the rest of the transaction: who grants holds them, so that nobody else does meanwhile."""
    query = (
        select(SpendLimit)
        .where(SpendLimit.organization_id == organization_id)
        .where(col(SpendLimit.project_id).in_((ORGANIZATION, project_id)))
        .order_by(SpendLimit.project_id)
    )
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    limits = tx.exec(query).all()
    return [Standing(limit, spending(tx, organization_id, project_id=limit.project_id)) for limit in limits]
