"""How long batches of a model take, from those that have ended. Pure.

A batch takes a fixed while, for its start and its last long answers, and then so long a token. Both are read
off earlier batches: of the fixed whiles tried, the one with which their durations are least off. What one
batch in ten has taken beyond that makes the 90th percentile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

BATCHES_MIN_FOR_P90 = 5
P90_FALLBACK = 1.5  # with fewer: how much longer one batch in ten is taken to last
FIXED_TRIED = 20  # between none of the shortest duration and all of it


@dataclass(frozen=True)
class Done:
    """One batch: the seconds from its first line to its last, and the tokens, prompt and output together,
    that its engines did in them: its own, and those of batches beside it."""

    tokens: int
    seconds: float


@dataclass(frozen=True)
class Pace:
    """`p90` is the factor by which one batch in ten lasts longer."""

    fixed_seconds: float
    seconds_per_token: float
    p90: float

    def seconds(self, tokens: int) -> float:
        """How long so many tokens take, as often more as less."""
        return self.fixed_seconds + tokens * self.seconds_per_token


def pace_of(done: Sequence[Done]) -> Pace | None:
    """The pace that fits these batches best; None where there are none to go by."""
    known = [batch for batch in done if batch.tokens > 0 and batch.seconds > 0]
    if not known:
        return None
    shortest = min(batch.seconds for batch in known)
    tried = [_with_fixed(known, shortest * part / FIXED_TRIED) for part in range(FIXED_TRIED)]
    return min(tried, key=lambda pace: _off(pace, known))


def _with_fixed(known: Sequence[Done], fixed: float) -> Pace:
    per_token = median((batch.seconds - fixed) / batch.tokens for batch in known)
    pace = Pace(fixed, per_token, P90_FALLBACK)
    if len(known) < BATCHES_MIN_FOR_P90:
        return pace
    ratios = sorted(batch.seconds / pace.seconds(batch.tokens) for batch in known)
    return Pace(fixed, per_token, max(1.0, ratios[min(len(ratios) - 1, int(len(ratios) * 0.9))]))


def _off(pace: Pace, known: Sequence[Done]) -> float:
    return sum(abs(pace.seconds(batch.tokens) / batch.seconds - 1) for batch in known)
