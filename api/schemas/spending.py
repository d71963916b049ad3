"""Spend limits and alerts in OpenAI's shapes: thresholds in cents, for a month. Fractions of a cent are
allowed, down to a micro-dollar. What goes beyond OpenAI's fields is in micro-dollars."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from api.schemas.wire import Identified, RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.spending.model import SpendAlert
from orchestrator.spending.standing import Spending, Standing

MICROS_PER_CENT = 10_000
CENTS_MAX = 10**13  # a hundred billion dollars
RECIPIENTS_MAX = 100

Cents = Annotated[int | float, Field(ge=0, le=CENTS_MAX, allow_inf_nan=False)]


class SetSpendLimit(RequestBody):
    """The body of `POST …/spend_limit`."""

    currency: Literal["USD"] = "USD"
    interval: Literal["month"] = "month"
    threshold_amount: Cents


class NotificationChannel(RequestBody):
    """Whom to tell. The yard sends no mail: the alert's webhook event carries this."""

    type: Literal["email"] = "email"
    recipients: list[Annotated[Text, Field(max_length=256)]] = Field(
        default_factory=list, max_length=RECIPIENTS_MAX
    )
    subject_prefix: Annotated[Text, Field(max_length=128)] | None = None


class SetSpendAlert(RequestBody):
    """The body of `POST …/spend_alerts`, and of `POST …/spend_alerts/{id}`."""

    currency: Literal["USD"] = "USD"
    interval: Literal["month"] = "month"
    threshold_amount: Annotated[int | float, Field(gt=0, le=CENTS_MAX, allow_inf_nan=False)]
    notification_channel: NotificationChannel = Field(default_factory=NotificationChannel)


class Enforcement(Wire):
    """Whether new work is refused now."""

    status: Literal["inactive", "enforcing"]


class SpendLimitObject(Wire):
    """A monthly cap and how it stands. `spent` is charged or spent by running work, `held` what running work
    may still spend, `open` what is left for anything else."""

    object: Literal["organization.spend_limit", "project.spend_limit"]
    currency: Literal["USD"] = "USD"
    interval: Literal["month"] = "month"
    threshold_amount: int | float
    enforcement: Enforcement
    threshold_micros: int
    spent_micros: int
    held_micros: int
    open_micros: int
    resets_at: int
    updated_at: int

    @classmethod
    def of(cls, standing: Standing) -> "SpendLimitObject":
        """The limit with the figures of this moment."""
        return cls(
            object="project.spend_limit" if standing.limit.project_id else "organization.spend_limit",
            threshold_amount=cents(standing.limit.cap_micros),
            enforcement=Enforcement(status="enforcing" if standing.reached else "inactive"),
            threshold_micros=standing.limit.cap_micros,
            spent_micros=standing.spending.spent,
            held_micros=standing.unspent,
            open_micros=max(0, standing.open),
            resets_at=clock.unix(standing.spending.resets_at),
            updated_at=clock.unix(standing.limit.updated_at),
        )


class SpendLimitDeleted(Wire):
    """The answer to `DELETE …/spend_limit`."""

    object: Literal["organization.spend_limit.deleted", "project.spend_limit.deleted"]
    deleted: Literal[True] = True


class SpendAlertObject(Identified):
    """A spend to be told of. `alerted_at` is when that last happened, once in a month."""

    object: Literal["organization.spend_alert", "project.spend_alert"]
    currency: Literal["USD"] = "USD"
    interval: Literal["month"] = "month"
    threshold_amount: int | float
    notification_channel: NotificationChannel
    threshold_micros: int
    created_at: int
    alerted_at: int | None

    @classmethod
    def of(cls, alert: SpendAlert) -> "SpendAlertObject":
        """The alert as its owner sees it."""
        return cls(
            id=alert.id,
            object="project.spend_alert" if alert.project_id else "organization.spend_alert",
            threshold_amount=cents(alert.threshold_micros),
            notification_channel=NotificationChannel(
                recipients=alert.recipients, subject_prefix=alert.subject_prefix
            ),
            threshold_micros=alert.threshold_micros,
            created_at=clock.unix(alert.created_at),
            alerted_at=clock.unix_or_none(alert.alerted_at),
        )


class SpendingObject(Wire):
    """What the caller's organization spends this month, and the limits over the caller's project."""

    object: Literal["organization.spending"] = "organization.spending"
    charged_micros: int
    running_micros: int
    spent_micros: int
    resets_at: int
    limits: list[SpendLimitObject]

    @classmethod
    def of(cls, spending: Spending, limits: Sequence[Standing]) -> "SpendingObject":
        """The figures of this moment."""
        return cls(
            charged_micros=spending.charged,
            running_micros=spending.running,
            spent_micros=spending.spent,
            resets_at=clock.unix(spending.resets_at),
            limits=[SpendLimitObject.of(limit) for limit in limits],
        )


def cents(micros: int) -> int | float:
    """Micro-dollars in cents: a whole number wherever it is one."""
    whole, rest = divmod(micros, MICROS_PER_CENT)
    return whole + rest / MICROS_PER_CENT if rest else whole


def micros(cents: int | float) -> int:
    """Cents in micro-dollars, to the nearest."""
    return round(cents * MICROS_PER_CENT)
