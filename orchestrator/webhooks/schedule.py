"""When an attempt is made again, and when an endpoint has failed for too long. Pure."""

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

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
LATER = (429, 503)  # a receiver that answers so may say in `Retry-After` when to come again
ASKED_MAX = timedelta(hours=24)
_DIGITS_MAX = 9


def wait_after(attempts: int, asked: timedelta | None = None) -> timedelta | None:
    """How long after so many attempts, at least one, the next is made; None: that was the last. A receiver
    that has `asked` to be left alone is, for no longer than ASKED_MAX."""
    if attempts >= ATTEMPTS_MAX:
        return None
    return max(BACKOFF[attempts - 1], min(asked or timedelta(0), ASKED_MAX))


def asked_wait(retry_after: str, *, now: datetime) -> timedelta | None:
    """What a `Retry-After` header says: seconds, or a date (RFC 9110, 10.2.3). None for anything else."""
    if retry_after.isascii() and retry_after.isdigit():
        return timedelta(seconds=min(int(retry_after[:_DIGITS_MAX]), ASKED_MAX.total_seconds()))
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return None if until.tzinfo is None else max(timedelta(0), until - now)


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
