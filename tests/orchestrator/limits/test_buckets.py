"""Leaking buckets, by Groq's own example."""

import pytest

from orchestrator.entitlements.tiers import Tiers
from orchestrator.limits.buckets import BUCKETS, REQUESTS_DAY, TOKENS_MINUTE, duration, headers

FREE = Tiers.load()["free"]
EMPTY = {bucket.level: 0.0 for bucket in BUCKETS}


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(179.56, "2m59.56s"), (7.66, "7.66s"), (0.12, "120ms"), (2.0, "2s"), (60.0, "1m0s"), (3723.0, "1h2m3s")],
)
def test_durations_are_written_as_the_sdks_servers_write_them(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_thirty_of_14400_requests_a_day_are_free_again_in_three_minutes() -> None:
    assert REQUESTS_DAY.reset_seconds(30, 14_400) == 180
    assert REQUESTS_DAY.drained(30, 14_400, 60) == 20
    assert REQUESTS_DAY.drained(30, 14_400, 1_000) == 0


def test_who_waits_as_long_as_told_finds_room() -> None:
    wait = TOKENS_MINUTE.wait_seconds(5_900, 6_000, 400)
    assert wait == 3.0
    assert TOKENS_MINUTE.drained(5_900, 6_000, wait) + 400 == 6_000


def test_headers_tell_of_requests_a_day_and_tokens_a_minute() -> None:
    assert headers(EMPTY | {"requests_day": 10.5, "tokens_minute": 600}, FREE) == {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "989",
        "x-ratelimit-reset-requests": "15m7.2s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5400",
        "x-ratelimit-reset-tokens": "6s",
    }


def test_a_limit_that_a_tier_does_not_have_is_told_of_by_the_other_or_not_at_all() -> None:
    free = FREE.model_copy(
        update={"requests_per_day": None, "tokens_per_minute": None, "tokens_per_day": None}
    )
    assert headers(EMPTY, free)["x-ratelimit-limit-requests"] == "30"
    assert "x-ratelimit-limit-tokens" not in headers(EMPTY, free)
