"""How a run is told to end, how it is cut off, and what Prefect is told about it."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Abort
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running

from flows import carried as carried_module
from flows import runs
from flows.artifacts import artifact_key
from flows.carried import Carried, ending
from flows.entrypoints import EntrypointRefused, load_flow
from flows.stop import GRACE_SECONDS, Reason, StopSignal, current_stop, stoppable
from orchestrator.settings import Settings


def a_run(state: State[Any], **fields: Any) -> FlowRun:
    """A flow run in a state."""
    return FlowRun(id=uuid4(), flow_id=uuid4(), state=state, **fields)


async def ended(outcome: State[Any] | BaseException) -> asyncio.Task[State[Any]]:
    """A flow's task that has ended so."""

    async def flow() -> State[Any]:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    task = asyncio.create_task(flow())
    await asyncio.wait({task})
    return task


def told(reason: Reason | None) -> Carried:
    """A run whose flow was told to end for this reason."""
    carried = Carried(a_run(Running()))
    if reason is not None:
        carried.tell(reason)
    return carried


async def test_the_first_reason_to_stop_is_the_one_that_stays() -> None:
    stop = StopSignal()
    stop.give("cancelled")
    stop.give("drained")
    assert (stop.reason, stop.event.is_set()) == ("cancelled", True)


async def test_a_flow_reads_its_own_signal_and_no_other() -> None:
    first, second = StopSignal(), StopSignal()

    async def flow(stop: StopSignal) -> StopSignal:
        with stoppable(stop):
            await asyncio.sleep(0)
            return current_stop()

    assert await asyncio.gather(flow(first), flow(second)) == [first, second]
    assert current_stop().reason is None


async def test_a_drain_shortens_the_time_of_a_run_that_ends_already() -> None:
    carried = told("cancelled")
    before = carried.deadline
    carried.tell("drained")
    assert before - carried.deadline > GRACE_SECONDS["cancelled"] - GRACE_SECONDS["drained"] - 1
    assert carried.stop.reason == "cancelled"


async def test_a_flow_is_cut_off_once_its_grace_is_over_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = 1000.0
    monkeypatch.setattr(carried_module.time, "monotonic", lambda: moment)
    carried = told("drained")
    carried.task = asyncio.create_task(asyncio.sleep(60, Completed()))
    await asyncio.sleep(0)
    moment += GRACE_SECONDS["drained"] - 0.1
    carried.cut_off_when_due()
    assert carried.task.cancelling() == 0
    moment += 0.2
    carried.cut_off_when_due()
    await asyncio.wait({carried.task})
    assert carried.task.cancelled()


@pytest.mark.parametrize(
    ("reason", "outcome", "wanted"),
    [
        (None, Completed(), None),
        ("cancelled", Completed(), None),
        ("drained", Cancelled(message="given back"), None),
        (None, Cancelling(), "ended while Cancelling"),
        ("fenced", Running(), None),
        ("fenced", asyncio.CancelledError(), None),
        ("cancelled", asyncio.CancelledError(), "cut off: still running 600 s after the cancel"),
        ("drained", asyncio.CancelledError(), "worker cpu-1 drained"),
        (None, Abort("no"), "Prefect refused to go on: no"),
        (None, httpx.ConnectError("away"), "Prefect was away when this run ended"),
        (None, TypeError("no such parameter"), "TypeError: no such parameter"),
    ],
)
async def test_prefect_is_told_what_the_flow_has_not_told_it(
    reason: Reason | None, outcome: State[Any] | BaseException, wanted: str | None
) -> None:
    state = ending(told(reason), await ended(outcome), worker="cpu-1")
    assert (state and state.message) == wanted
    assert state is None or state.is_final()


@pytest.mark.parametrize(
    ("found", "wanted", "forced"),
    [
        (Running(), Crashed(), "Crashed"),
        (Pending(), Failed(), "Failed"),
        (Cancelling(), Crashed(message="worker restarted"), "Cancelled"),
        (Completed(), Crashed(), None),
        (Cancelled(), Crashed(), None),
        (Crashed(), Cancelled(), "Cancelled"),
        (None, Crashed(), "Crashed"),
    ],
)
def test_an_end_is_forced_only_where_there_is_none(
    found: State[Any] | None, wanted: State[Any], forced: str | None
) -> None:
    state = runs.settled(found, wanted)
    assert (state and state.name) == forced


def test_a_run_is_signed_by_its_pending_state_and_then_by_its_infrastructure() -> None:
    signature = runs.signature("cpu-1", life="1f2e")
    assert runs.holder(a_run(Pending(message=signature))) == "cpu-1"
    assert runs.holder(a_run(Running(), infrastructure_pid=signature)) == "cpu-1"
    assert runs.holder(a_run(Running(message=signature))) is None
    assert runs.holder(a_run(Running(), infrastructure_pid="4242")) is None


@pytest.mark.parametrize(
    ("entrypoint", "words"),
    [
        ("shutil.rmtree", "not in the package 'flows'"),
        ("flowsome.thing.flow", "not in the package 'flows'"),
        ("", "not in the package 'flows'"),
        ("flows.stop.current_stop", "not a Prefect flow"),
        ("flows.stop:nothing", "not a Prefect flow"),
    ],
)
def test_an_entrypoint_that_is_no_flow_of_ours_is_refused(entrypoint: str, words: str) -> None:
    with pytest.raises(EntrypointRefused, match=words):
        load_flow(entrypoint)


def test_ids_are_asked_for_a_page_at_a_time() -> None:
    assert [len(some) for some in runs.chunks(range(2 * runs.PAGE + 1))] == [runs.PAGE] * 2 + [1]


def test_artifact_keys_are_in_the_letters_that_prefect_allows() -> None:
    assert artifact_key("batch_8K2m/Progress") == "batch-8k2m-progress"


def test_a_person_finds_the_run_under_its_address() -> None:
    assert runs.flow_run_url(Settings(prefect_port=4201), "1-2") == (
        "http://127.0.0.1:4201/runs/flow-run/1-2"
    )
