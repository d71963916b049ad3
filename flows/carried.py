"""One flow run in a worker's hands: its flow as a task, how it is told to end, how it has ended."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import structlog
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Abort, Pause
from prefect.flow_engine import run_flow
from prefect.flows import Flow
from prefect.states import Cancelled, Crashed, Failed

from flows.runs import PREFECT_AWAY
from flows.stop import GRACE_SECONDS, Reason, StopSignal, stoppable

log = structlog.get_logger()

CUT_AGAIN_SECONDS = 20.0  # a flow may miss one cancellation, in a cleanup of its own


@dataclass(eq=False)
class Carried:
    """`task` is the flow, None until the run is claimed.

    `for_engine` is the run as Prefect's engine gets it and keeps its state in: without its deployment.
    For a deployment's run the engine would block the event loop twice, to open and to close a thread
    and a websocket that watch for suspension alone, which `YardWorker.watch` sees with all else.
    """

    flow_run: FlowRun
    stop: StopSignal = field(default_factory=StopSignal)
    task: asyncio.Task[State[Any]] | None = None
    deadline: float = float("inf")  # of time.monotonic: then it is cut off
    for_engine: FlowRun = field(init=False)

    def __post_init__(self) -> None:
        self.for_engine = self.flow_run.model_copy(update={"deployment_id": None})

    def starting(self) -> bool:
        """Whether Prefect does not yet show it as running."""
        return self.for_engine.state is None or not self.for_engine.state.is_running()

    def tell(self, reason: Reason) -> None:
        """Ask the flow to end, and set when it is cut off: a second reason may hurry it."""
        self.stop.give(reason)
        self.deadline = min(self.deadline, time.monotonic() + GRACE_SECONDS[reason])

    def cut_off_when_due(self) -> None:
        """Cancel the flow's task where its time is over."""
        if self.task is not None and time.monotonic() > self.deadline:
            self.task.cancel()
            self.deadline = time.monotonic() + CUT_AGAIN_SECONDS


async def execute(carried: Carried, flow: Flow[..., Any]) -> State[Any]:
    """Run the flow by Prefect's engine; its last state. A flow that raises ends in a state too."""
    try:
        with stoppable(carried.stop):
            running: Any = run_flow(flow, flow_run=carried.for_engine, return_type="state")
            state: State[Any] = await running
            return state
    except SystemExit as error:  # in a task it would end the event loop, and every other run
        raise RuntimeError(f"the flow called sys.exit({error.code})") from error


def ending(carried: Carried, task: asyncio.Task[State[Any]], *, worker: str) -> State[Any] | None:
    """The state that Prefect still has to be given after the flow's task, None where it has one."""
    reason = carried.stop.reason
    if reason == "fenced":
        return None
    if task.cancelled():
        if reason == "cancelled":
            grace = GRACE_SECONDS["cancelled"]
            return Cancelled(message=f"cut off: still running {grace:.0f} s after the cancel")
        return Cancelled(message=f"worker {worker} drained")
    match task.exception():
        case None:
            state = task.result()
            return None if state.is_final() else Crashed(message=f"ended while {state.name}")
        case Abort() | Pause() as error:
            return Crashed(message=f"Prefect refused to go on: {error}")
        case error if isinstance(error, PREFECT_AWAY):
            return Crashed(message="Prefect was away when this run ended")
        case error:
            log.error("run_not_carried_out", flow_run=str(carried.flow_run.id), exc_info=error)
            return Failed(message=f"{type(error).__name__}: {error}")
