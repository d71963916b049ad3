"""May this tier do that? Pure questions, each answered with yes or with a refusal that explains
itself.

A refusal is in Groq's style: it names the limit, its value, what is used, what was asked for, when
it resets, and the cheapest tier that lifts it.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TypeAlias

from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.errors import Invalid, NotEntitled, QuotaExceeded, TooLarge, YardError

_WINDOW = re.compile(r"([1-9][0-9]{0,3})([hd])")
_HOURS = {"h": 1, "d": 24}


@dataclass(frozen=True)
class Allowed:
    """Nothing stands against it."""


@dataclass(frozen=True)
class Refused:
    """Why not. `limit` is the key in tiers.toml and `value` what the tier has there; `lifted_by` is
    the name of the cheapest tier that would allow it, None where no tier does. `kind` is the error
    to raise."""

    limit: str
    value: int | str
    used: int
    requested: int | str
    resets_at: datetime | None
    wait_seconds: float | None
    lifted_by: str | None
    kind: type[YardError]
    code: str | None
    param: str | None
    message: str


Verdict: TypeAlias = Allowed | Refused


def require(verdict: Verdict) -> None:
    """Pass, or raise the refusal as its kind of YardError."""
    if isinstance(verdict, Refused):
        raise verdict.kind(
            verdict.message,
            code=verdict.code,
            param=verdict.param,
            retry_after_seconds=verdict.wait_seconds,
        )


def file_size(tiers: Tiers, tier: Tier, size_bytes: int) -> Verdict:
    """A file sent in one request."""
    return _bounded(
        tiers, tier, "file_bytes_max", size_bytes, unit="bytes a file", kind=TooLarge, param="file"
    )


def upload_size(tiers: Tiers, tier: Tier, size_bytes: int) -> Verdict:
    """A file sent in parts."""
    return _bounded(
        tiers,
        tier,
        "upload_bytes_max",
        size_bytes,
        unit="bytes an upload",
        kind=TooLarge,
        param="bytes",
    )


def line_count(tiers: Tiers, tier: Tier, lines: int) -> Verdict:
    """The lines of one batch."""
    return _bounded(
        tiers,
        tier,
        "batch_lines_max",
        lines,
        unit="lines a batch",
        kind=Invalid,
        code="too_many_requests",
        param="input_file_id",
    )


def lines_per_day(tiers: Tiers, tier: Tier, *, used: int, requested: int, now: datetime) -> Verdict:
    """The lines of all batches of one organization since midnight UTC."""
    midnight = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
    return _bounded(
        tiers,
        tier,
        "batch_lines_per_day",
        requested,
        used=used,
        unit="batch lines a day",
        kind=QuotaExceeded,
        resets_at=midnight,
        now=now,
    )


def concurrent_batches(tiers: Tiers, tier: Tier, *, used: int) -> Verdict:
    """One more live batch of an organization that has `used`."""
    return _bounded(
        tiers,
        tier,
        "concurrent_batches",
        1,
        used=used,
        unit="batches at a time",
        kind=QuotaExceeded,
        advice="Please try again once one of your batches has ended.",
    )


def queued_tokens(tiers: Tiers, tier: Tier, *, model: str, used: int, requested: int) -> Verdict:
    """Prompt tokens that wait for one model, over all live batches of an organization."""
    return _bounded(
        tiers,
        tier,
        "queued_tokens_max",
        requested,
        used=used,
        unit=f"enqueued tokens for {model}",
        kind=QuotaExceeded,
        code="token_limit_exceeded",
        advice="Please try again once some in_progress batches have been completed.",
    )


def fine_tuning_allowed(tiers: Tiers, tier: Tier) -> Verdict:
    """Fine-tuning at all."""
    if tier.fine_tuning:
        return Allowed()
    lifted_by = tiers.cheapest_with(lambda other: other.fine_tuning)
    return Refused(
        limit="fine_tuning",
        value="false",
        used=0,
        requested="true",
        resets_at=None,
        wait_seconds=None,
        lifted_by=lifted_by.name if lifted_by else None,
        kind=NotEntitled,
        code=None,
        param=None,
        message=f"LoRA fine-tuning is not available on the {tier.title} tier. "
        + (f"The {lifted_by.title} tier has it." if lifted_by else "No tier has it."),
    )


def concurrent_fine_tuning(tiers: Tiers, tier: Tier, *, used: int) -> Verdict:
    """One more fine-tuning job that has not ended, paused ones included, of an organization that has
    `used`."""
    return _bounded(
        tiers,
        tier,
        "fine_tuning_jobs",
        1,
        used=used,
        unit="fine-tuning jobs at a time",
        kind=QuotaExceeded,
        advice="Please try again once one of your fine-tuning jobs has ended.",
        among=lambda other: other.fine_tuning,
    )


def model_permitted(tiers: Tiers, tier: Tier, model: str, *, param: str = "body.model") -> Verdict:
    """A model that the yard has, for this tier."""
    if tier.permits(model):
        return Allowed()
    lifted_by = tiers.cheapest_with(lambda other: other.permits(model))
    return Refused(
        limit="models",
        value=", ".join(tier.models),
        used=0,
        requested=model,
        resets_at=None,
        wait_seconds=None,
        lifted_by=lifted_by.name if lifted_by else None,
        kind=NotEntitled,
        code="model_not_permitted",
        param=param,
        message=f"The model {model!r} is not available on the {tier.title} tier, which has "
        f"{', '.join(tier.models)}. "
        + (f"The {lifted_by.title} tier has it." if lifted_by else "No tier has it."),
    )


def completion_window(tiers: Tiers, tier: Tier, window: str) -> Verdict:
    """A completion window as the customer wrote it."""
    lowest, highest = tier.completion_window_hours_min, tier.completion_window_hours_max
    hours = window_hours(window)
    if hours is not None and lowest <= hours <= highest:
        return Allowed()
    lifted_by = None
    if hours is not None:
        lifted_by = tiers.cheapest_with(
            lambda other: other.completion_window_hours_min <= hours <= other.completion_window_hours_max
        )
    allowed = f"{lowest}h" if lowest == highest else f"{lowest}h to {highest}h"
    return Refused(
        limit="completion_window_hours_max",
        value=allowed,
        used=0,
        requested=window,
        resets_at=None,
        wait_seconds=None,
        lifted_by=lifted_by.name if lifted_by else None,
        kind=Invalid,
        code="invalid_value",
        param="completion_window",
        message=f"Invalid value: {window[:32]!r}. Supported values are: {allowed}, in hours (24h) "
        f"or days (2d), on the {tier.title} tier."
        + (f" The {lifted_by.title} tier allows {window}." if lifted_by else ""),
    )


def window_hours(window: str) -> int | None:
    """Hours in `24h` or `7d`, or None where it is written otherwise."""
    found = _WINDOW.fullmatch(window)
    return int(found[1]) * _HOURS[found[2]] if found else None


def _bounded(
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
) -> Verdict:
    """Whether `used + requested` stays within the tier's `limit`, or else that of which tier `among`
    those that it is a limit of."""

    def within(other: Tier) -> bool:
        bound: int | None = getattr(other, limit)
        return among(other) and (bound is None or used + requested <= bound)

    if within(tier):
        return Allowed()
    lifted_by = tiers.cheapest_with(within)
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
        most: int | None = getattr(lifted_by, limit)
        told.append(
            f"Need more? The {lifted_by.title} tier allows "
            + ("any number." if most is None else f"{most:,}.")
        )
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
        message=" ".join(told),
    )


def _duration(seconds: float) -> str:
    """`2h03m`, `2m23s`: whole seconds, rounded up, so that waiting that long suffices."""
    whole = math.ceil(seconds)
    if whole >= 3600:
        minutes = math.ceil(whole / 60)
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
