"""Leaking buckets: what is used of a rate drains evenly. Pure arithmetic.

These are Groq's figures: with 14,400 requests a day and 30 of them used, its headers say that all is free
again in 2m59.56s, which is 30 times a day's 14,400th part. A full bucket is empty after its whole period, and
half of it after half of that: nobody waits for a full minute or for midnight.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.entitlements.tiers import Tier

MINUTE, DAY = 60.0, 86_400.0


@dataclass(frozen=True)
class Bucket:
    """One of the four limits. `limit` is its name in tiers.toml; `level` that of its column; `counts` what it
    counts; `short` Groq's letters for it."""

    level: str
    limit: str
    counts: str
    short: str
    seconds: float

    def size(self, tier: Tier) -> int | None:
        """How much it holds in this tier; None: any amount."""
        value: int | None = getattr(tier, self.limit)
        return value

    def reset_seconds(self, level: float, size: int) -> float:
        """Until it is empty."""
        return level * self.seconds / size

    def wait_seconds(self, level: float, size: int, asked: float) -> float:
        """Until there is room for `asked`."""
        return max(0.0, (level + asked - size) * self.seconds / size)

    def drained(self, level: float, size: int, elapsed: float) -> float:
        """The level `elapsed` seconds later."""
        return max(0.0, level - size * max(0.0, elapsed) / self.seconds)


REQUESTS_MINUTE = Bucket("requests_minute", "requests_per_minute", "requests", "RPM", MINUTE)
REQUESTS_DAY = Bucket("requests_day", "requests_per_day", "requests", "RPD", DAY)
TOKENS_MINUTE = Bucket("tokens_minute", "tokens_per_minute", "tokens", "TPM", MINUTE)
TOKENS_DAY = Bucket("tokens_day", "tokens_per_day", "tokens", "TPD", DAY)
BUCKETS = (REQUESTS_MINUTE, REQUESTS_DAY, TOKENS_MINUTE, TOKENS_DAY)


def headers(levels: Mapping[str, float], tier: Tier) -> dict[str, str]:
    """What every answer says of the limits: of requests a day's and of tokens a minute's, as at Groq, or the
    other one where that is without a limit."""
    told: dict[str, str] = {}
    for first, second in ((REQUESTS_DAY, REQUESTS_MINUTE), (TOKENS_MINUTE, TOKENS_DAY)):
        bucket = first if first.size(tier) is not None else second
        size = bucket.size(tier)
        if size is None:
            continue
        level = levels[bucket.level]
        told[f"x-ratelimit-limit-{bucket.counts}"] = str(size)
        told[f"x-ratelimit-remaining-{bucket.counts}"] = str(max(0, math.floor(size - level)))
        told[f"x-ratelimit-reset-{bucket.counts}"] = duration(bucket.reset_seconds(level, size))
    return told


def duration(seconds: float) -> str:
    """As both SDKs' servers write it: `2m59.56s`, `7.66s`, `120ms`, `1h2m3s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    hundredths = math.ceil(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    shown = f"{rest / 100:.2f}".rstrip("0").rstrip(".") + "s"
    return f"{f'{hours}h' if hours else ''}{f'{minutes}m' if hours or minutes else ''}{shown}"
