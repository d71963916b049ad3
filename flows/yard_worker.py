"""The yard's Prefect worker type: flow runs as coroutines of one event loop, hundreds of them.

    scheduled --claim--> Pending, signed --run--> Running --> a final state, whatever happens

Of Prefect's `BaseWorker` it keeps the registration: work pool, heartbeat, the worker's page. Its
own loops replace Prefect's, which give up when the server is away for a minute or two and end every
run when the submission of one fails. What a run is worth is not known here: the database decides
about the next attempt.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context, copy_context
from typing import Any, ClassVar
from uuid import UUID

import anyio.abc
import structlog
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import AsyncClientContext
from prefect.exceptions import Abort, ObjectNotFound
from prefect.settings import (
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)
from prefect.states import Crashed, Pending
from prefect.utilities.engine import propose_state
from prefect.workers.base import (
    BaseJobConfiguration,
    BaseVariables,
    BaseWorker,
    BaseWorkerResult,
)

from flows import runs
from flows.carried import Carried, ending, execute
from flows.entrypoints import load_flow
from flows.runs import PREFECT_AWAY
from flows.stop import GRACE_SECONDS
from orchestrator import clock

log = structlog.get_logger()

POLL_SECONDS = 1.0
REST_SECONDS = 10.0  # between two polls of a worker that carries nothing and would be woken
HEARTBEAT_SECONDS = 5
STARTS_AT_ONCE = 8  # runs on their way to Running; Prefect's server starts a few a second
SETTLE_EVERY_SECONDS = 2.0
SETTLE_SECONDS_MAX = 3600.0  # how long a finished run waits for Prefect to come back
DRAIN_EXTRA_SECONDS = 4.0  # after the grace of a drain, to tell Prefect of those cut off


LeftBehind = Callable[[list[str]], Awaitable[None]]


class YardResult(BaseWorkerResult):
    """What Prefect asks of a worker: always 0, since `run` has settled the run's state itself."""


class YardWorker(BaseWorker[BaseJobConfiguration, BaseVariables, YardResult]):
    """Carries at most `limit` flow runs of one work pool. No two live workers may share a name.

    Prefect's server spends 15 ms on each poll. `woken` says that somebody calls `wake` when there is
    a new run, so that few polls find nothing. `on_left_behind` is told the runs that an earlier life of this
    worker has left, before they are ended: nobody carries them any more.
    """

    type = "yard"
    job_configuration = BaseJobConfiguration
    _display_name: ClassVar[str] = "Yard"
    _description = "Runs async flows inside one long-lived process."

    def __init__(
        self,
        *,
        pool: str,
        name: str,
        limit: int,
        woken: bool = False,
        on_left_behind: LeftBehind | None = None,
    ) -> None:
        super().__init__(
            work_pool_name=pool,
            name=name,
            limit=limit,
            prefetch_seconds=0,
            heartbeat_interval_seconds=HEARTBEAT_SECONDS,
        )
        self.pool = pool
        self.limit = limit
        self.draining = False
        self._rest_seconds = REST_SECONDS if woken else POLL_SECONDS
        self._on_left_behind = on_left_behind
        self._signature = runs.signature(name, life=secrets.token_hex(4))
        self._carried: dict[UUID, Carried] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._entrypoints: dict[UUID, str] = {}
        self._taken_back = False
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flow_context: Context = copy_context()

    async def serve(self) -> None:
        """Carry flow runs until `drain`, then until all of them have ended or were cut off."""
        self._loop = asyncio.get_running_loop()
        await self._until_prefect_answers()
        if self.draining:
            return
        # Prefect's heartbeat is a thread for each run, and our own lease says who is alive.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            async with AsyncClientContext.get_or_create():  # one connection pool for all runs
                # A flow waits a minute for Prefect inside its client; our loops retry themselves.
                self._flow_context = copy_context()
                with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                    async with self, asyncio.TaskGroup() as loops:
                        heartbeat = loops.create_task(_every(HEARTBEAT_SECONDS, self.sync_with_backend))
                        watch = loops.create_task(_every(POLL_SECONDS, self.watch))
                        await self._take_until_drained()
                        await self._empty()
                        heartbeat.cancel()
                        watch.cancel()

    def wake(self) -> None:
        """Look for runs now. In the loop's thread."""
        self._wake.set()

    def drain(self) -> None:
        """Take nothing more and ask every run to end; then `serve` returns. Thread-safe."""
        self.draining = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell_drained)

    def _tell_drained(self) -> None:
        self._wake.set()
        for carried in self._carried.values():
            carried.tell("drained")

    async def _until_prefect_answers(self) -> None:
        async with get_client() as client:
            while not self.draining and (away := await client.api_healthcheck()) is not None:
                log.warning("prefect_away", error=str(away))
                await self._sleep(POLL_SECONDS)

    async def _take_until_drained(self) -> None:
        while not self.draining:
            self._wake.clear()
            with _prefect_may_be_away():
                await self.get_and_submit_flow_runs()
            await self._sleep(POLL_SECONDS if self._carried else self._rest_seconds)

    async def _sleep(self, seconds: float) -> None:
        """Until the next poll is due, a run has ended and left room, or somebody wakes us."""
        if not self.draining:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), seconds)

    async def _empty(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE_SECONDS["drained"] + DRAIN_EXTRA_SECONDS)
        for task in self._tasks:
            task.cancel()  # Prefect is away: our next life tells it

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take as many scheduled runs as there is room for, by the priority of their queues."""
        if not self._taken_back:
            await self.take_back()
        starting = sum(carried.starting() for carried in self._carried.values())
        room = min(self.limit - len(self._carried), STARTS_AT_ONCE - starting)
        if self.draining or room <= 0:
            return []
        found = await self.client.get_scheduled_flow_runs_for_work_pool(
            self.pool, scheduled_before=clock.now()
        )
        taken = [one.flow_run for one in found if one.flow_run.id not in self._carried][:room]
        for flow_run in taken:
            carried = self._carried[flow_run.id] = Carried(flow_run)
            task = asyncio.create_task(self._carry(carried))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return taken

    async def take_back(self) -> None:
        """End the runs that an earlier life of this worker left: nobody carries them any more."""
        left = [
            str(flow_run.id)
            for flow_run in await runs.unfinished(self.client, self.pool)
            if runs.holder(flow_run) == self.name and flow_run.id not in self._carried
        ]
        if left and self._on_left_behind is not None:
            await self._on_left_behind(left)
        for run_id in left:
            log.warning("run_left_behind", flow_run=run_id)
            await runs.settle(self.client, run_id, Crashed(message="worker restarted"))
        self._taken_back = True

    async def _carry(self, carried: Carried) -> None:
        flow_run = carried.flow_run
        try:
            if await self._claim(flow_run):
                await self.run(flow_run, BaseJobConfiguration())
                self._wake.set()
        finally:
            del self._carried[flow_run.id]

    async def _claim(self, flow_run: FlowRun) -> bool:
        """Make the run ours, in one step that no two workers can both do."""
        if self.draining:
            return False
        with _prefect_may_be_away(), contextlib.suppress(Abort):  # Abort: another worker was first
            signed: State[Any] = Pending(message=self._signature)
            state = await propose_state(self.client, signed, flow_run_id=flow_run.id)
            return state.is_pending()
        return False

    async def run(
        self,
        flow_run: FlowRun,
        configuration: BaseJobConfiguration,  # noqa: ARG002  # Prefect's, with nothing to configure
        task_status: anyio.abc.TaskStatus[int] | None = None,  # noqa: ARG002
    ) -> YardResult:
        """Run a claimed run's flow, and see that Prefect has a final state for it afterwards."""
        carried = self._carried[flow_run.id]
        carried.task = asyncio.create_task(self._find_and_execute(carried), context=self._flow_context.copy())
        if self.draining:
            carried.tell("drained")
        await asyncio.wait({carried.task})
        wanted = ending(carried, carried.task, worker=self.name)
        if wanted is not None:
            await self._settle(flow_run.id, wanted)
        return YardResult(identifier=self._signature, status_code=0)

    async def _find_and_execute(self, carried: Carried) -> State[Any]:
        flow_run = carried.flow_run
        await self.client.update_flow_run(flow_run.id, infrastructure_pid=self._signature)
        return await execute(carried, load_flow(await self._entrypoint(flow_run)))

    async def _entrypoint(self, flow_run: FlowRun) -> str:
        """The deployment's, asked once: the code that it names does not change while we run."""
        deployment_id = flow_run.deployment_id
        if deployment_id is None:
            return ""
        if deployment_id not in self._entrypoints:
            deployment = await self.client.read_deployment(deployment_id)
            self._entrypoints[deployment_id] = deployment.entrypoint or ""
        return self._entrypoints[deployment_id]

    async def _settle(self, flow_run_id: UUID, wanted: State[Any]) -> None:
        """Tell Prefect how the run ended, for as long as it takes Prefect to listen."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while time.monotonic() < deadline:
            with _prefect_may_be_away():
                await runs.settle(self.client, flow_run_id, wanted)
                return
            await asyncio.sleep(SETTLE_EVERY_SECONDS)

    async def watch(self) -> None:
        """Cut off who has overstayed, and tell those whose state somebody changed in Prefect."""
        begun = {key: one for key, one in self._carried.items() if one.task is not None}
        for carried in begun.values():
            carried.cut_off_when_due()
        for flow_run in await runs.not_going(self.client, list(begun)):
            state, carried = flow_run.state, begun[flow_run.id]
            if state is not None and carried.stop.reason is None:
                cancelled = state.is_cancelling() or state.is_cancelled()
                carried.tell("cancelled" if cancelled else "fenced")


async def _every(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    while True:
        with _prefect_may_be_away():
            await action()
        await asyncio.sleep(seconds)


@contextlib.contextmanager
def _prefect_may_be_away() -> Iterator[None]:
    """Go on after the block where Prefect did not answer: every caller asks again."""
    try:
        yield
    except ObjectNotFound:
        pass  # somebody deleted it: nothing is left to say about it
    except PREFECT_AWAY as error:
        log.warning("prefect_away", error=str(error) or type(error).__name__)
