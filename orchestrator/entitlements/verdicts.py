"""Yes, or a refusal that explains itself; and the verdict on an amount. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from orchestrator.entitlements import offers
from orchestrator.entitlements.offers import Use
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.errors import YardError


@dataclass(frozen=True)
class Allowed:
    """Nothing stands against it."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Why not. `limit` is the key in tiers.toml and `value` what the tier has there; `lifted_by` is
    the name of the cheapest tier that would allow it, None where no tier does. `kind` is the error
    to raise."""

    limit: str
    value: int | str
    used: int = 0
    requested: int | str
    resets_at: datetime | None = None
    wait_seconds: float | None = None
    lifted_by: str | None
    kind: type[YardError]
    code: str | None = None
    param: str | None = None
    message: str


Verdict: TypeAlias = Allowed | Refused


def bounded(
    tiers: Tiers,
    tier: Tier,
    limit: str,
    requested: int,
    *,
    unit: str,
    kind: type[YardError],
    used: int = 0,
    code: str | None = None,
    param: str | None = None,
    resets_at: datetime | None = None,
    now: datetime | None = None,
    advice: str = "",
    among: Callable[[Tier], bool] = lambda _: True,
    model: str | None = None,
    use: Use = Use.BATCH,
) -> Verdict:
    """Whether `used + requested` stays within the tier's `limit`, or else that of which tier `among`
    those that it is a limit of."""

    def within(other: Tier) -> bool:
        bound: int | None = getattr(other, limit)
        return among(other) and (bound is None or used + requested <= bound)

    if within(tier):
        return Allowed()
    lifted_by = tiers.lifting(tier, within)
    value: int = getattr(tier, limit)
    wait_seconds = (resets_at - now).total_seconds() if resets_at and now else None
    told = [
        f"Limit reached on {unit} ({limit}) of the {tier.title} tier: Limit {value:,}, "
        f"Used {used:,}, Requested {requested:,}."
    ]
    if wait_seconds is not None and requested <= value:
        told.append(f"Please try again in {_duration(wait_seconds)}.")
    if advice and requested <= value:
        told.append(advice)
    if lifted_by is not None:
        about = offers.named(tier) if model is None else [model]
        told.append(offers.allows(tiers, lifted_by, limit, models=about, use=use))
    elif requested > value:
        told.append("No tier allows as many: split it.")
    return Refused(
        limit=limit,
        value=value,
        used=used,
        requested=requested,
        resets_at=resets_at,
        wait_seconds=wait_seconds,
        lifted_by=lifted_by.name if lifted_by else None,
        kind=kind,
        code=code,
        param=param,
        message=" ".join(told) + offers.contact(tier),
    )


def _duration(seconds: float) -> str:
    """`2h03m`, `2m23s`: whole seconds, rounded up, so that waiting that long suffices."""
    whole = math.ceil(seconds)
    if whole >= 3600:
        minutes = math.ceil(whole / 60)
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
