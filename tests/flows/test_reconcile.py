"""What of Prefect's unfinished runs is wrong in the light of our database."""

from datetime import timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling, Pending, Running

from flows import runs
from flows.reconcile import PENDING_MAX, discrepancies
from orchestrator import clock

NOW = clock.now()
OLD = NOW - PENDING_MAX - timedelta(seconds=1)
GONE = "gone-1"


def a_run(state: object, *, worker: str = "here-1") -> FlowRun:
    """A run that a worker holds."""
    signature = runs.signature(worker, life="1")
    return FlowRun(id=uuid4(), flow_id=uuid4(), state=state, infrastructure_pid=signature)


@pytest.mark.parametrize(
    ("flow_run", "live", "reason"),
    [
        (a_run(Running()), True, None),
        (a_run(Running()), False, "its attempt is over in the yard's database"),
        (a_run(Cancelling()), False, "its attempt is over in the yard's database"),
        (a_run(Running()), None, None),
        (a_run(Running(), worker=GONE), None, "worker gone-1 is offline"),
        (a_run(Running(), worker=GONE), True, None),
        (a_run(Pending(timestamp=NOW)), True, None),
        (a_run(Pending(timestamp=OLD)), True, "pending for more than 0:02:00"),
        (a_run(Pending(timestamp=OLD)), None, "pending for more than 0:02:00"),
        (a_run(Running(timestamp=OLD)), True, None),
    ],
)
def test_a_run_that_cannot_be_going_is_found(
    flow_run: FlowRun, live: bool | None, reason: str | None
) -> None:
    ours = {} if live is None else {str(flow_run.id): live}
    wrong = discrepancies(ours, [flow_run], offline={GONE}, now=NOW)
    assert wrong == ({} if reason is None else {str(flow_run.id): reason})
