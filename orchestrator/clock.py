"""The one place that reads the wall clock. Durations use `time.monotonic` where they are measured."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present moment, timezone-aware, in UTC."""
    return datetime.now(UTC)


def unix(moment: datetime) -> int:
    """Whole seconds since 1970, as OpenAI's objects carry times."""
    return int(moment.timestamp())


def unix_or_none(moment: datetime | None) -> int | None:
    """`unix`, for a moment that may not have come."""
    return None if moment is None else unix(moment)


def said(moment: datetime) -> str:
    """A moment as a sentence goes on: `on 2026-03-01 at 12:30 UTC`."""
    return moment.astimezone(UTC).strftime("on %Y-%m-%d at %H:%M UTC")
