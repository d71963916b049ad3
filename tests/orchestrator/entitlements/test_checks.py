from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.entitlements import checks
from orchestrator.entitlements.checks import Allowed, Refused, Verdict
from orchestrator.entitlements.tiers import Tiers
from orchestrator.errors import Invalid, NotEntitled, QuotaExceeded, TooLarge

NAMES = ("free", "developer", "enterprise")
NOON = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)
TIERS = Tiers.load()


def bound(name: str, limit: str) -> int:
    """A tier's limit, or a number beyond all others where it has none."""
    value: int | None = getattr(TIERS[name], limit)
    return 10**15 if value is None else value


def refused(verdict: Verdict) -> Refused:
    assert isinstance(verdict, Refused)
    return verdict


# Each check of one amount: its limit, how to ask it, and the error it raises.
AMOUNTS = {
    "file_size": (
        "file_bytes_max",
        lambda tier, n: checks.file_size(TIERS, tier, n),
        TooLarge,
    ),
    "upload_size": (
        "upload_bytes_max",
        lambda tier, n: checks.upload_size(TIERS, tier, n),
        TooLarge,
    ),
    "line_count": (
        "batch_lines_max",
        lambda tier, n: checks.line_count(TIERS, tier, n),
        Invalid,
    ),
    "lines_per_day": (
        "batch_lines_per_day",
        lambda tier, n: checks.lines_per_day(TIERS, tier, used=n - 1, requested=1, now=NOON),
        QuotaExceeded,
    ),
    "concurrent_batches": (
        "concurrent_batches",
        lambda tier, n: checks.concurrent_batches(TIERS, tier, used=n - 1),
        QuotaExceeded,
    ),
    "queued_tokens": (
        "queued_tokens_max",
        lambda tier, n: checks.queued_tokens(TIERS, tier, model="m", used=n - 1, requested=1),
        QuotaExceeded,
    ),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", AMOUNTS)
def test_a_tier_allows_exactly_its_limit(name: str, check: str):
    limit, ask, kind = AMOUNTS[check]
    assert ask(TIERS[name], bound(name, limit)) == Allowed()
    if getattr(TIERS[name], limit) is None:
        return
    verdict = refused(ask(TIERS[name], bound(name, limit) + 1))
    assert (verdict.limit, verdict.value) == (limit, bound(name, limit))
    assert verdict.used + int(verdict.requested) == bound(name, limit) + 1
    assert verdict.kind is kind
    for told in (limit, TIERS[name].title, f"{verdict.value:,}", f"{verdict.used:,}"):
        assert told in verdict.message
    with pytest.raises(kind, match=limit):
        checks.require(verdict)


@pytest.mark.parametrize("check", AMOUNTS)
def test_a_refusal_names_the_cheapest_tier_that_lifts_it(check: str):
    limit, ask, _ = AMOUNTS[check]
    beyond_free = refused(ask(TIERS["free"], bound("free", limit) + 1))
    assert beyond_free.lifted_by == "developer"
    assert "The Developer tier (Pay per token) allows" in beyond_free.message


@pytest.mark.parametrize("check", ["file_size", "upload_size", "line_count", "queued_tokens"])
def test_what_is_too_much_for_the_next_tier_is_lifted_by_the_one_after(check: str):
    limit, ask, _ = AMOUNTS[check]
    assert refused(ask(TIERS["free"], bound("developer", limit) + 1)).lifted_by == "enterprise"


def test_what_no_tier_allows_is_told_as_such():
    verdict = refused(checks.upload_size(TIERS, TIERS["enterprise"], 10**12))
    assert verdict.lifted_by is None
    assert "No tier allows as many: split it." in verdict.message


def test_lines_a_day_come_back_at_midnight():
    verdict = refused(checks.lines_per_day(TIERS, TIERS["free"], used=150, requested=80, now=NOON))
    assert verdict.resets_at == datetime(2026, 11, 24, tzinfo=UTC)
    assert verdict.wait_seconds == timedelta(hours=11, minutes=59, seconds=30).total_seconds()
    assert verdict.message == (
        "Limit reached on batch lines a day (batch_lines_per_day) of the Free tier: Limit 200, "
        "Used 150, Requested 80. Please try again in 12h00m. "
        "Need more? The Developer tier (Pay per token) allows any number."
    )
    with pytest.raises(QuotaExceeded) as error:
        checks.require(verdict)
    assert error.value.retry_after_seconds == verdict.wait_seconds


def test_waiting_is_not_advised_where_it_would_not_help():
    verdict = refused(checks.lines_per_day(TIERS, TIERS["free"], used=0, requested=201, now=NOON))
    assert "try again" not in verdict.message


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "1s"), (59, "59s"), (60.5, "1m01s"), (3_599, "59m59s")])
def test_a_short_wait_is_told_to_the_second(seconds: float, told: str):
    now = datetime(2026, 11, 24, tzinfo=UTC) - timedelta(seconds=seconds)
    verdict = refused(checks.lines_per_day(TIERS, TIERS["free"], used=200, requested=1, now=now))
    assert f"try again in {told}." in verdict.message


def test_queued_tokens_name_the_model_and_keep_the_known_code():
    verdict = refused(checks.queued_tokens(TIERS, TIERS["free"], model="m-1", used=0, requested=10**6))
    assert (verdict.code, verdict.lifted_by) == ("token_limit_exceeded", "developer")
    assert "enqueued tokens for m-1" in verdict.message


@pytest.mark.parametrize("name", NAMES)
def test_every_tier_permits_the_smallest_model(name: str):
    assert checks.model_permitted(TIERS, TIERS[name], "yard-smoke") == Allowed()


def test_a_model_of_another_tier_is_refused_with_that_tier():
    verdict = refused(checks.model_permitted(TIERS, TIERS["free"], "large"))
    assert (verdict.code, verdict.lifted_by) == ("model_not_permitted", "developer")
    assert verdict.message == (
        "The model 'large' is not available on the Free tier (models: yard-smoke). "
        "The Developer tier (Pay per token) has it."
    )
    with pytest.raises(NotEntitled):
        checks.require(verdict)


@pytest.mark.parametrize(
    ("name", "window", "allowed"),
    [
        ("free", "24h", True),
        ("free", "1d", True),
        ("free", "25h", False),
        ("developer", "24h", True),
        ("developer", "168h", True),
        ("developer", "7d", True),
        ("developer", "8d", False),
        ("enterprise", "7d", True),
        ("enterprise", "23h", False),
    ],
)
def test_a_completion_window_lies_between_the_bounds_of_the_tier(name: str, window: str, allowed: bool):
    verdict = checks.completion_window(TIERS, TIERS[name], window)
    assert isinstance(verdict, Allowed) is allowed


@pytest.mark.parametrize("window", ["", "24", "24H", "-1d", "0h", "1.5d", "24h ", "99999h", "x" * 99])
def test_a_window_that_cannot_be_read_is_answered_with_how_to_write_one(window: str):
    verdict = refused(checks.completion_window(TIERS, TIERS["developer"], window))
    assert verdict.lifted_by is None
    assert "24h to 168h, in hours (24h) or days (2d)" in verdict.message
    with pytest.raises(Invalid) as error:
        checks.require(verdict)
    assert (error.value.code, error.value.param) == ("invalid_value", "completion_window")


def test_a_longer_window_is_lifted_by_the_tier_that_has_it():
    verdict = refused(checks.completion_window(TIERS, TIERS["free"], "7d"))
    assert verdict.lifted_by == "developer"
    assert "The Developer tier (Pay per token) allows 7d." in verdict.message


def test_an_allowed_verdict_raises_nothing():
    checks.require(Allowed())


def test_fine_tuning_is_lifted_by_the_cheapest_tier_that_has_it():
    assert checks.fine_tuning_allowed(TIERS, TIERS["enterprise"]) == Allowed()
    verdict = refused(checks.fine_tuning_allowed(TIERS, TIERS["developer"]))
    assert (verdict.limit, verdict.lifted_by) == ("fine_tuning", "enterprise")
    with pytest.raises(
        NotEntitled,
        match=r"the Developer tier \(fine_tuning: false\)\. The Enterprise tier \(By contract\) has it\.",
    ):
        checks.require(verdict)


def test_more_fine_tuning_jobs_are_never_promised_by_a_tier_without_fine_tuning():
    assert checks.concurrent_fine_tuning(TIERS, TIERS["enterprise"], used=3) == Allowed()
    verdict = refused(checks.concurrent_fine_tuning(TIERS, TIERS["enterprise"], used=4))
    assert (verdict.value, verdict.used, verdict.lifted_by) == (4, 4, None)
    assert "once one of your fine-tuning jobs has ended" in verdict.message
