"""When an attempt is made again, and when an endpoint has failed for too long."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.webhooks.schedule import (
    ATTEMPTS_MAX,
    EXHAUSTED_MAX,
    FAILING_MAX,
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
