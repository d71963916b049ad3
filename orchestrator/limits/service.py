"""Rate limits: taken before a synchronous request, settled after it.

What is used stands in one row for each organization and model, and one more where the project has limits of
its own. Taking is one statement a row: it drains, adds and refuses at once, so that any number of API
processes see the same, also after a restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Float, Table, Update, bindparam, extract, func, literal
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.entitlements import offers
from orchestrator.entitlements.offers import Use
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.errors import QuotaExceeded, TooLarge
from orchestrator.limits.buckets import BUCKETS, Bucket, duration, headers
from orchestrator.limits.model import RateUse

ORGANIZATION = ""  # the project of a row that speaks for all of them
ROUNDING = 1e-6  # of levels, which are fractions: who waits as long as told gets in
_ROWS: Table = RateUse.__table__  # type: ignore[attr-defined]  # every mapped class has it
_NAMED = (
    _ROWS.c.organization_id == bindparam("its_organization"),
    _ROWS.c.project_id == bindparam("its_project"),
    _ROWS.c.model == bindparam("its_model"),
)
_GIVE_BACK = (
    _ROWS.update()
    .where(*_NAMED)
    .values(
        {
            name: func.greatest(0.0, _ROWS.c[name] - bindparam("given_back", type_=Float))
            for name in ("tokens_minute", "tokens_day")
        }
    )
)


@dataclass(frozen=True)
class Caller:
    """Who asks, and the limits of its organization and, where that has its own, of its project."""

    organization_id: str
    project_id: str
    tier: Tier
    project_tier: Tier | None = None

    def scopes(self) -> tuple[tuple[str, Tier], ...]:
        """The rows to take from, each with its limits."""
        own = () if self.project_tier is None else ((self.project_id, self.project_tier),)
        return ((ORGANIZATION, self.tier), *own)


@dataclass(frozen=True)
class Taken:
    """What a request has been given; `headers` are for its answer."""

    caller: Caller
    model: str
    tokens: int
    headers: Mapping[str, str]


def take(tx: Session, caller: Caller, model: str, *, tokens: int, tiers: Tiers) -> Taken:
    """Count one request of at most so many tokens. Raises QuotaExceeded where a limit is used up just now,
    and TooLarge where the request is larger than a whole limit."""
    now = clock.now()
    asked = {"requests": 1, "tokens": tokens}
    told: dict[str, str] = {}
    for project_id, tier in caller.scopes():
        for bucket in BUCKETS:
            size = bucket.size(tier)
            if size is not None and asked[bucket.counts] > size:
                raise _too_large(caller, model, bucket, size, asked[bucket.counts], tiers)
        levels = _taken(tx, caller, project_id, model, tier, tokens=tokens, now=now)
        if levels is None:
            raise _refused(tx, caller, project_id, model, tier, asked, tiers, now)
        told |= headers(levels, tier)
    return Taken(caller, model, tokens, told)


def settle(tx: Session, taken: Taken, *, tokens: int) -> None:
    """Give back what was taken and not used: `tokens` are those that count, cached ones do not."""
    given_back = taken.tokens - tokens
    if not given_back:
        return
    for project_id, _ in taken.caller.scopes():
        tx.execute(_GIVE_BACK, _named(taken.caller, project_id, taken.model) | {"given_back": given_back})


def used(tx: Session, organization_id: str, project_id: str, tier: Tier) -> dict[str, dict[str, float]]:
    """The levels now, by model: at most as many rows as the organization has used models."""
    now = clock.now()
    rows = tx.exec(
        select(RateUse).where(RateUse.organization_id == organization_id, RateUse.project_id == project_id)
    )
    return {row.model: _levels(row, tier, now) for row in rows}


def _taken(
    tx: Session, caller: Caller, project_id: str, model: str, tier: Tier, *, tokens: int, now: datetime
) -> Mapping[str, float] | None:
    """The levels with this request in them; None, and nothing taken, where one would run over."""
    sizes = {bucket: size for bucket in BUCKETS if (size := bucket.size(tier)) is not None}
    statement = _taking(frozenset(sizes))
    asked = _named(caller, project_id, model) | {"now": now, "requests": 1.0, "tokens": float(tokens)}
    asked |= {_size(bucket): float(size) for bucket, size in sizes.items()}
    row = tx.execute(statement, asked).first()
    if row is None:  # no row yet, or a refusal; a row that another request makes just now counts too
        _begin(tx, caller, project_id, model, now)
        row = tx.execute(statement, asked).first()
    return None if row is None else dict(zip((bucket.level for bucket in BUCKETS), row, strict=True))


def _begin(tx: Session, caller: Caller, project_id: str, model: str, now: datetime) -> None:
    """Make the row, of which nothing is used, where there is none."""
    new = insert(RateUse).values(
        organization_id=caller.organization_id, project_id=project_id, model=model, at=now
    )
    tx.execute(new.on_conflict_do_nothing())


@cache  # one for each choice of limits, so at most 16: to build one takes longer than to run it
def _taking(limited: frozenset[Bucket]) -> Update:
    """Drain and add, unless one of these buckets would run over."""
    now = bindparam("now", type_=_ROWS.c.at.type)
    elapsed = func.greatest(0.0, extract("epoch", now - _ROWS.c.at))
    then: dict[str, Any] = {"at": func.greatest(now, _ROWS.c.at)}
    room: list[ColumnElement[bool]] = []
    for bucket in BUCKETS:
        if bucket not in limited:
            then[bucket.level] = literal(0.0)
            continue
        size, asked = bindparam(_size(bucket), type_=Float), bindparam(bucket.counts, type_=Float)
        level = func.greatest(0.0, _ROWS.c[bucket.level] - elapsed * size / bucket.seconds) + asked
        then[bucket.level] = level
        room.append(level <= size + ROUNDING)
    taking = _ROWS.update().where(*_NAMED, *room).values(then)
    return taking.returning(*(_ROWS.c[bucket.level] for bucket in BUCKETS))


def _size(bucket: Bucket) -> str:
    return f"{bucket.level}_size"


def _refused(
    tx: Session,
    caller: Caller,
    project_id: str,
    model: str,
    tier: Tier,
    asked: Mapping[str, int],
    tiers: Tiers,
    now: datetime,
) -> QuotaExceeded:
    """Groq's words: the limit, its value, the use, the request, the wait, and what lifts it."""
    row = tx.exec(select(RateUse).where(*_row(caller, project_id, model))).one()
    levels = _levels(row, tier, now)
    waits = {
        bucket: bucket.wait_seconds(levels[bucket.level], size, asked[bucket.counts])
        for bucket in BUCKETS
        if (size := bucket.size(tier)) is not None
    }
    bucket, wait = max(waits.items(), key=lambda each: each[1])
    return QuotaExceeded(
        f"{_reached(caller, project_id, model, bucket, tier)}: Limit {bucket.size(tier):,}, "
        f"Used {round(levels[bucket.level]):,}, Requested {asked[bucket.counts]:,}. "
        f"Please try again in {duration(wait)}.{_more(tiers, caller.tier, bucket, model)}",
        retry_after_seconds=max(wait, 0.001),
        about=bucket.counts,
        headers=headers(levels, tier),
    )


def _too_large(caller: Caller, model: str, bucket: Bucket, size: int, asked: int, tiers: Tiers) -> TooLarge:
    return TooLarge(
        f"Request too large for model `{model}`: it counts as {asked:,} {bucket.counts}, and {bucket.limit} "
        f"of the {caller.tier.title} tier is {size:,}. Ask for fewer with `max_completion_tokens`, or send "
        "it as a line of a batch, which has no such limit."
        f"{_more(tiers, caller.tier, bucket, model, asked=asked)}",
        code="rate_limit_exceeded",
    )


def _reached(caller: Caller, project_id: str, model: str, bucket: Bucket, tier: Tier) -> str:
    whose = f"project `{project_id}`" if project_id else f"organization `{caller.organization_id}`"
    per = bucket.limit.replace("_", " ")
    return (
        f"Rate limit reached for model `{model}` in {whose} service tier `{tier.name}` on {per} "
        f"({bucket.short})"
    )


def _more(tiers: Tiers, tier: Tier, bucket: Bucket, model: str, *, asked: int = 0) -> str:
    """The cheapest tier that allows more, at its price for the model."""
    return offers.more(tiers, tier, bucket.limit, asked=asked, models=[model], use=Use.SANDBOX)


def _levels(row: RateUse, tier: Tier, now: datetime) -> dict[str, float]:
    elapsed = (now - row.at).total_seconds()
    levels: dict[str, float] = {}
    for bucket in BUCKETS:
        size = bucket.size(tier)
        level: float = getattr(row, bucket.level)
        levels[bucket.level] = 0.0 if size is None else bucket.drained(level, size, elapsed)
    return levels


def _row(caller: Caller, project_id: str, model: str) -> tuple[ColumnElement[bool], ...]:
    return (
        col(RateUse.organization_id) == caller.organization_id,
        col(RateUse.project_id) == project_id,
        col(RateUse.model) == model,
    )


def _named(caller: Caller, project_id: str, model: str) -> dict[str, Any]:
    """The values of `_NAMED`."""
    return {"its_organization": caller.organization_id, "its_project": project_id, "its_model": model}
