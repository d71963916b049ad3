"""Whether work that broke is tried again, and when: the only retry policy of the yard.

Pure: a reason and a count in, a delay or None out. `jobs/service.py` applies the decision.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class FailureReason(StrEnum):
    """Why an attempt ended badly. A fault of the user is none of these: it ends a batch at once."""

    WORKER_LOST = "worker_lost"  # its holder stopped heartbeating: killed, out of memory, node gone
    ENGINE_UNAVAILABLE = "engine_unavailable"  # no engine of its model could be started
    STORE_UNAVAILABLE = "store_unavailable"
    INTERNAL = "internal"  # a fault of ours; another attempt seldom mends it


@dataclass(frozen=True)
class Patience:
    """Attempts until we give up, and the delay before the second, doubled each time to a bound."""

    attempts_max: int
    delay_seconds: float
    delay_seconds_max: float


PATIENCE = {
    FailureReason.WORKER_LOST: Patience(12, 1.0, 60.0),  # a machine that reboots is back in minutes
    FailureReason.ENGINE_UNAVAILABLE: Patience(8, 15.0, 600.0),
    FailureReason.STORE_UNAVAILABLE: Patience(16, 5.0, 600.0),  # outlasts an outage of two hours
    FailureReason.INTERNAL: Patience(4, 5.0, 20.0),
}


def next_attempt(reason: FailureReason, failures: int) -> timedelta | None:
    """How long to wait before another attempt, or None to give up.

    `failures` counts the attempts that have failed, this one included, whatever their reasons.
    """
    patience = PATIENCE[reason]
    if failures >= patience.attempts_max:
        return None
    delay_seconds = patience.delay_seconds * 2 ** (failures - 1)
    return timedelta(seconds=min(delay_seconds, patience.delay_seconds_max))
