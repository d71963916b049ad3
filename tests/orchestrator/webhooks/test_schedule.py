"""When an attempt is made again, and when an endpoint has failed for too long."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.webhooks.schedule import (
    ASKED_MAX,
    ATTEMPTS_MAX,
    EXHAUSTED_MAX,
    FAILING_MAX,
    asked_wait,
    disabled_for,
    wait_after,
)

NOW = datetime(2027, 1, 1, tzinfo=UTC)


def test_ten_attempts_are_spread_over_three_days() -> None:
    waits = [wait_after(attempts) for attempts in range(1, ATTEMPTS_MAX)]
    assert waits == sorted(wait for wait in waits if wait is not None)
    assert len(waits) == 9
    assert waits[0] == timedelta(seconds=5)
    assert sum((wait for wait in waits if wait), timedelta()) == timedelta(hours=75, minutes=35, seconds=5)
    assert wait_after(ATTEMPTS_MAX) is None
    assert wait_after(ATTEMPTS_MAX + 7) is None  # asked for by hand


def test_what_is_asked_for_lengthens_a_wait_and_is_bounded() -> None:
    assert wait_after(1, timedelta(seconds=1)) == timedelta(seconds=5)
    assert wait_after(1, timedelta(hours=1)) == timedelta(hours=1)
    assert wait_after(1, timedelta(days=9)) == ASKED_MAX
    assert wait_after(ATTEMPTS_MAX, timedelta(hours=1)) is None


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("0", timedelta(0)),
        ("120", timedelta(minutes=2)),
        ("9" * 5_000, ASKED_MAX),
        ("Fri, 01 Jan 2027 00:10:00 GMT", timedelta(minutes=10)),
        ("Thu, 31 Dec 2026 23:00:00 GMT", timedelta(0)),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
    ],
)
def test_a_wait_is_asked_for_in_seconds_or_by_a_date(header: str, wait: timedelta | None) -> None:
    assert asked_wait(header, now=NOW) == wait


@pytest.mark.parametrize(
    ("status_code", "failing", "exhausted", "disabled"),
    [
        (500, timedelta(0), 0, False),
        (None, FAILING_MAX - timedelta(seconds=1), EXHAUSTED_MAX - 1, False),
        (410, timedelta(0), 0, True),
        (None, FAILING_MAX, 0, True),
        (500, timedelta(hours=80), EXHAUSTED_MAX, True),
    ],
)
def test_an_endpoint_is_disabled_when_it_is_gone_or_has_failed_for_long(
    status_code: int | None, failing: timedelta, exhausted: int, disabled: bool
) -> None:
    reason = disabled_for(status_code=status_code, failing_since=NOW - failing, exhausted=exhausted, now=NOW)
    assert (reason is not None) is disabled
