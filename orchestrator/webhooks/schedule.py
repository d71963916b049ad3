"""When an attempt is made again, and when an endpoint has failed for too long. Pure."""

from datetime import datetime, timedelta

# As the Standard Webhooks specification suggests: ten attempts in three days and four hours. `n` attempts
# were made: the next one comes BACKOFF[n - 1] after the last.
BACKOFF = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
ATTEMPTS_MAX = 1 + len(BACKOFF)
FAILING_MAX = timedelta(days=5)  # without one delivery that arrives
EXHAUSTED_MAX = 10  # deliveries with no attempt left, without one that arrives
GONE = 410


def wait_after(attempts: int) -> timedelta | None:
    """How long after so many attempts, at least one, the next is made; None: that was the last."""
    return BACKOFF[attempts - 1] if attempts < ATTEMPTS_MAX else None


def disabled_for(
    *, status_code: int | None, failing_since: datetime, exhausted: int, now: datetime
) -> str | None:
    """Why an endpoint is to be disabled after a failed attempt, in words for its owner; None: not yet."""
    if status_code == GONE:
        return "It answered 410 Gone."
    if now - failing_since >= FAILING_MAX:
        return f"No delivery has arrived for {FAILING_MAX.days} days."
    if exhausted >= EXHAUSTED_MAX:
        return f"{exhausted} deliveries in a row have failed with all of their {ATTEMPTS_MAX} attempts."
    return None
