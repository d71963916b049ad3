"""What an organization has used and what it cost: its ledger summed up, by time and by what is asked for.

A charge counts at the moment it was made, which for a batch or a training is its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Row, cast, func, null, select
from sqlmodel import Session, col

from orchestrator.errors import Invalid
from orchestrator.metering.model import Usage, UsageKind

RESULTS_MAX = 10_000  # of one page, over all its buckets
EPOCH = datetime.fromtimestamp(0, UTC)


class Width(StrEnum):
    """How long a bucket is."""

    MINUTE = "1m"
    HOUR = "1h"
    DAY = "1d"


class By(StrEnum):
    """What a bucket may be divided by."""

    PROJECT = "project_id"
    MODEL = "model"
    KIND = "kind"


WIDTHS = {Width.MINUTE: timedelta(minutes=1), Width.HOUR: timedelta(hours=1), Width.DAY: timedelta(days=1)}


@dataclass(frozen=True)
class Asked:
    """The ledger rows to sum up: those from `start` to before `end`, in at most `buckets` buckets. Of
    `projects`, `models` and `kinds` an empty one means all; `items` are "MODEL, KIND"."""

    organization_id: str
    start: datetime
    end: datetime
    width: Width
    buckets: int
    by: frozenset[By] = frozenset()
    projects: Sequence[str] = ()
    models: Sequence[str] = ()
    kinds: Sequence[UsageKind] = ()
    items: Sequence[str] = ()


@dataclass(frozen=True)
class Sums:
    """One part of a bucket. `lines` are a batch's finished lines and synchronous requests; `cached_tokens`
    are a part of `input_tokens`. What it was not divided by is None."""

    project_id: str | None
    model: str | None
    kind: UsageKind | None
    lines: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    trained_tokens: int
    cost_micros: int

    @property
    def cached_share(self) -> float | None:
        """The share of the input that was cached, None without input."""
        return round(self.cached_tokens / self.input_tokens, 4) if self.input_tokens else None


COUNTED = ("lines", "input_tokens", "cached_tokens", "output_tokens", "trained_tokens", "cost_micros")


@dataclass(frozen=True)
class Bucket:
    """A stretch of time, aligned to whole widths in UTC, and what was used in it, costliest first."""

    start: datetime
    end: datetime
    results: tuple[Sums, ...]


@dataclass(frozen=True)
class UsagePage:
    """Buckets in order, empty ones too, and where the next page starts."""

    buckets: tuple[Bucket, ...]
    next_start: datetime | None


def summed(tx: Session, asked: Asked) -> UsagePage:
    """One page of usage. Raises Invalid where the time is none, or the page would have more than RESULTS_MAX
    results."""
    if asked.end <= asked.start:
        raise Invalid("`end_time` must be after `start_time`.", param="end_time")
    width = WIDTHS[asked.width]
    first = floor(asked.start, asked.width)
    page_end = min(asked.end, first + asked.buckets * width)
    found: dict[datetime, list[Sums]] = {}
    for start, *values in _rows(tx, asked, page_end):
        found.setdefault(start, []).append(Sums(*values))
    starts = [first + number * width for number in range(-((first - page_end) // width))]
    return UsagePage(
        buckets=tuple(Bucket(start, start + width, tuple(found.get(start, ()))) for start in starts),
        next_start=page_end if page_end < asked.end else None,
    )


def floor(moment: datetime, width: Width) -> datetime:
    """The start of the bucket that a moment is in."""
    return EPOCH + (moment - EPOCH) // WIDTHS[width] * WIDTHS[width]


def _rows(tx: Session, asked: Asked, end: datetime) -> Sequence[Row[Any]]:
    """Of each result its bucket's start and the fields of Sums."""
    bucket = func.date_bin(WIDTHS[asked.width], col(Usage.at), EPOCH)
    chosen = {by: getattr(Usage, by.value) for by in By if by in asked.by}
    sums = [cast(func.sum(getattr(Usage, name)), BigInteger) for name in COUNTED]
    rows = tx.execute(
        select(bucket, *(chosen.get(by, null()) for by in By), *sums)
        .where(*_wanted(asked, end))
        .group_by(bucket, *chosen.values())
        .order_by(bucket, sums[-1].desc(), *chosen.values())
        .limit(RESULTS_MAX + 1)
    ).all()
    if len(rows) > RESULTS_MAX:
        raise Invalid(
            f"This is more than {RESULTS_MAX:,} results. Ask for fewer buckets at a time with `limit`, or "
            "group by less.",
            param="limit",
        )
    return rows


def _wanted(asked: Asked, end: datetime) -> list[ColumnElement[bool]]:
    wanted = [
        col(Usage.organization_id) == asked.organization_id,
        col(Usage.at) >= asked.start,
        col(Usage.at) < end,
    ]
    if asked.projects:
        wanted.append(col(Usage.project_id).in_(asked.projects))
    if asked.models:
        wanted.append(col(Usage.model).in_(asked.models))
    if asked.kinds:
        wanted.append(col(Usage.kind).in_(asked.kinds))
    if asked.items:
        wanted.append(func.concat(Usage.model, ", ", Usage.kind).in_(asked.items))
    return wanted
