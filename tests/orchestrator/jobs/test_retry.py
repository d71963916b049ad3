"""The retry policy is a pure table: every reason is patient for a while, and none for ever."""

from itertools import pairwise

import pytest

from orchestrator.jobs.retry import PATIENCE, FailureReason, next_attempt

FAR_BEYOND = 1000


@pytest.mark.parametrize("reason", FailureReason)
def test_every_reason_is_retried_at_first_and_given_up_in_the_end(reason: FailureReason):
    assert next_attempt(reason, 1) is not None
    assert next_attempt(reason, PATIENCE[reason].attempts_max - 1) is not None
    assert next_attempt(reason, PATIENCE[reason].attempts_max) is None
    assert next_attempt(reason, FAR_BEYOND) is None


@pytest.mark.parametrize("reason", FailureReason)
def test_delays_grow_up_to_their_bound(reason: FailureReason):
    patience = PATIENCE[reason]
    counts = range(1, patience.attempts_max)
    delays = [delay for n in counts if (delay := next_attempt(reason, n)) is not None]
    assert delays[0].total_seconds() == patience.delay_seconds
    assert all(later >= sooner for sooner, later in pairwise(delays))
    assert delays[-1].total_seconds() == patience.delay_seconds_max


def test_failures_of_other_reasons_count_as_well():
    """An internal fault after many lost workers is not met with a new round of attempts."""
    assert next_attempt(FailureReason.INTERNAL, PATIENCE[FailureReason.WORKER_LOST].attempts_max) is None
