"""May this tier do that? Pure questions, each answered with yes or with a refusal that explains
itself.

A refusal is in Groq's style: it names the limit, its value, what is used, what was asked for, when
it resets, and the cheapest tier that lifts it with its prices, and whom to write to.
"""

import re
from collections.abc import Sequence
from datetime import datetime, time, timedelta

from orchestrator.entitlements import offers
from orchestrator.entitlements.offers import Use
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.entitlements.verdicts import Allowed, Refused, Verdict, bounded
from orchestrator.errors import Invalid, NotEntitled, QuotaExceeded, TooLarge

_WINDOW = re.compile(r"([1-9][0-9]{0,3})([hd])")
_HOURS = {"h": 1, "d": 24}


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
    return bounded(
        tiers, tier, "file_bytes_max", size_bytes, unit="bytes a file", kind=TooLarge, param="file"
    )


def upload_size(tiers: Tiers, tier: Tier, size_bytes: int) -> Verdict:
    """A file sent in parts."""
    return bounded(
        tiers,
        tier,
        "upload_bytes_max",
        size_bytes,
        unit="bytes an upload",
        kind=TooLarge,
        param="bytes",
    )


def request_size(tiers: Tiers, tier: Tier, size_bytes: int) -> Verdict:
    """The body of a synchronous request: as long as a line of a batch may be."""
    return bounded(
        tiers,
        tier,
        "line_bytes_max",
        size_bytes,
        unit="bytes a request",
        kind=TooLarge,
        use=Use.SANDBOX,
    )


def line_count(tiers: Tiers, tier: Tier, lines: int) -> Verdict:
    """The lines of one batch."""
    return bounded(
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
    return bounded(
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
    return bounded(
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
    return bounded(
        tiers,
        tier,
        "queued_tokens_max",
        requested,
        used=used,
        unit=f"enqueued tokens for {model}",
        model=model,
        kind=QuotaExceeded,
        code="token_limit_exceeded",
        advice="Please try again once some in_progress batches have been completed.",
    )


def fine_tuning_allowed(tiers: Tiers, tier: Tier, *, model: str | None = None) -> Verdict:
    """Fine-tuning at all, of a base model if it is known which."""
    if tier.fine_tuning:
        return Allowed()
    lifted_by = tiers.cheapest_with(lambda other: other.fine_tuning)
    return Refused(
        limit="fine_tuning",
        value="false",
        requested="true",
        lifted_by=lifted_by.name if lifted_by else None,
        kind=NotEntitled,
        message=f"LoRA fine-tuning is not available on the {tier.title} tier (fine_tuning: false). "
        + _has_it(tiers, tier, lifted_by, [model] if model else offers.named(tier), Use.TRAINING),
    )


def own_adapter_refused(
    tiers: Tiers, tier: Tier, adapter: str, base: str, *, param: str = "model"
) -> Refused:
    """An adapter of the organization's own in something new, on a tier without fine-tuning."""
    lifted_by = tiers.cheapest_with(lambda other: other.fine_tuning and other.permits(base))
    return Refused(
        limit="fine_tuning",
        value="false",
        requested=adapter,
        lifted_by=lifted_by.name if lifted_by else None,
        kind=NotEntitled,
        code="model_not_permitted",
        param=param,
        message=f"The fine-tuned model {adapter!r} cannot be used on the {tier.title} tier "
        "(fine_tuning: false); it stays listed, and its files can be downloaded. "
        + _has_it(tiers, tier, lifted_by, [base], Use.BATCH),
    )


def concurrent_fine_tuning(tiers: Tiers, tier: Tier, *, used: int) -> Verdict:
    """One more fine-tuning job that has not ended, paused ones included, of an organization that has
    `used`."""
    return bounded(
        tiers,
        tier,
        "fine_tuning_jobs",
        1,
        used=used,
        unit="fine-tuning jobs at a time",
        kind=QuotaExceeded,
        advice="Please try again once one of your fine-tuning jobs has ended.",
        among=lambda other: other.fine_tuning,
        use=Use.TRAINING,
    )


def model_permitted(tiers: Tiers, tier: Tier, model: str, *, param: str = "body.model") -> Verdict:
    """A model that the yard has, for this tier."""
    if tier.permits(model):
        return Allowed()
    lifted_by = tiers.cheapest_with(lambda other: other.permits(model))
    return Refused(
        limit="models",
        value=", ".join(tier.models),
        requested=model,
        lifted_by=lifted_by.name if lifted_by else None,
        kind=NotEntitled,
        code="model_not_permitted",
        param=param,
        message=f"The model {model!r} is not available on the {tier.title} tier (models: "
        f"{', '.join(tier.models)}). " + _has_it(tiers, tier, lifted_by, [model], Use.BATCH),
    )


def completion_window(tiers: Tiers, tier: Tier, window: str) -> Verdict:
    """A completion window as the customer wrote it."""
    models = offers.named(tier)
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
        requested=window,
        lifted_by=lifted_by.name if lifted_by else None,
        kind=Invalid,
        code="invalid_value",
        param="completion_window",
        message=f"Invalid value: {window[:32]!r}. Supported values are: {allowed}, in hours (24h) "
        f"or days (2d), on the {tier.title} tier (completion_window_hours_max)."
        + (f" {offers.offer(tiers, lifted_by, models=models)} allows {window}." if lifted_by else "")
        + offers.contact(tier),
    )


def window_hours(window: str) -> int | None:
    """Hours in `24h` or `7d`, or None where it is written otherwise."""
    found = _WINDOW.fullmatch(window)
    return int(found[1]) * _HOURS[found[2]] if found else None


def _has_it(tiers: Tiers, tier: Tier, lifted_by: Tier | None, models: Sequence[str], use: Use) -> str:
    """Which tier has what this one lacks, and what that costs."""
    if lifted_by is None:
        return f"No tier has it.{offers.contact(tier)}"
    return f"{offers.offer(tiers, lifted_by, models=models, use=use)} has it.{offers.contact(tier)}"
