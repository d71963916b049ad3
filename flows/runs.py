"""Flow runs, from outside: create one, look at some, put an end to one, say where a person sees it.

`PREFECT_AWAY` is what any of these may raise while Prefect's server does not answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from orchestrator.settings import Settings

T = TypeVar("T")

PREFECT_AWAY = (httpx.HTTPError,)  # refused, timed out, or answered with an error status
PAGE = 200  # the most rows that Prefect's server returns at once
PAGES_MAX = 100
NEW_RUNS = "flow_runs"  # the channel on which workers hear that a run was made
GOING = [StateType.PENDING, StateType.RUNNING]
UNFINISHED = [*GOING, StateType.CANCELLING]

_deployment_ids: dict[tuple[str, str], UUID] = {}  # by Prefect's address and the deployment's name


async def create_run(
    client: PrefectClient,
    *,
    deployment: str,
    name: str,
    parameters: Mapping[str, Any],
    tags: Sequence[str] = (),
    queue: str | None = None,
    idempotency_key: str,
) -> str:
    """Schedule a run and return its id; the same id again for the same `idempotency_key`.

    `deployment` is one of `flows.deployments`, `queue` one of its pool's (its default where None).
    Raises ObjectNotFound where the deployment is not registered.
    """
    for last_try in (False, True):
        try:
            flow_run = await client.create_flow_run_from_deployment(
                await _deployment_id(client, deployment),
                name=name,
                parameters=dict(parameters),
                tags=list(tags),
                work_queue_name=queue,
                idempotency_key=idempotency_key,
            )
            return str(flow_run.id)
        except ObjectNotFound:  # registered anew under another id since we asked
            _deployment_ids.pop((str(client.api_url), deployment), None)
            if last_try:
                raise
    raise AssertionError("the last try returns or raises")


async def _deployment_id(client: PrefectClient, deployment: str) -> UUID:
    """A deployment bears its flow's name."""
    key = (str(client.api_url), deployment)
    if key not in _deployment_ids:
        found = await client.read_deployment_by_name(f"{deployment}/{deployment}")
        _deployment_ids[key] = found.id
    return _deployment_ids[key]


async def read_runs(client: PrefectClient, ids: Sequence[str]) -> dict[str, FlowRun]:
    """The runs that Prefect has of these, by id."""
    found: dict[str, FlowRun] = {}
    for some in chunks([UUID(one) for one in ids]):
        of_these = FlowRunFilter(id=FlowRunFilterId(any_=some))
        for flow_run in await client.read_flow_runs(flow_run_filter=of_these, limit=PAGE):
            found[str(flow_run.id)] = flow_run
    return found


async def run_states(client: PrefectClient, ids: Sequence[str]) -> dict[str, State[Any]]:
    """The states of those that Prefect has, by id."""
    flow_runs = await read_runs(client, ids)
    return {key: run.state for key, run in flow_runs.items() if run.state is not None}


async def unfinished(client: PrefectClient, pool: str) -> list[FlowRun]:
    """Every run of a work pool that a worker has taken and nobody has ended."""
    of_these = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)))
    of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    found: list[FlowRun] = []
    for page in range(PAGES_MAX):
        rows = await client.read_flow_runs(
            work_pool_filter=of_pool,
            flow_run_filter=of_these,
            sort=FlowRunSort.ID_DESC,
            limit=PAGE,
            offset=page * PAGE,
        )
        found += rows
        if len(rows) < PAGE:
            break
    return found


async def not_going(client: PrefectClient, ids: Sequence[UUID]) -> list[FlowRun]:
    """Those of these runs that are neither Pending nor Running: one question, few answers."""
    found: list[FlowRun] = []
    for some in chunks(ids):
        changed = FlowRunFilter(
            id=FlowRunFilterId(any_=some),
            state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=GOING)),
        )
        found += await client.read_flow_runs(flow_run_filter=changed, limit=PAGE)
    return found


async def settle(client: PrefectClient, flow_run_id: UUID | str, wanted: State[Any]) -> bool:
    """Force a final state on a run that has none; False where there was nothing to do.

    A run that was being cancelled becomes Cancelled whatever was wanted. One that Prefect does not
    know any more needs nothing.
    """
    try:
        flow_run = await client.read_flow_run(UUID(str(flow_run_id)))
        state = settled(flow_run.state, wanted)
        if state is not None:
            await client.set_flow_run_state(flow_run.id, state, force=True)
        return state is not None
    except ObjectNotFound:
        return False


def settled(found: State[Any] | None, wanted: State[Any]) -> State[Any] | None:
    """What to force on a run found in a state so that it ends as wanted; None to leave it alone."""
    if found is None:
        return wanted
    if found.is_cancelling() and not wanted.is_cancelled():
        return Cancelled(message=wanted.message)
    if found.is_crashed() and wanted.is_cancelled():
        return wanted  # the engine calls a flow that we cut off crashed
    return None if found.is_final() else wanted


def signature(worker: str, *, life: str) -> str:
    """How one life of a worker signs the runs that it takes. A worker's name has no slash."""
    return f"{worker}/{life}"


def holder(flow_run: FlowRun) -> str | None:
    """The name of the worker that holds a run, None where nobody has signed it.

    A run is signed in the message of its Pending state, which is one step with the claim, and then
    in its infrastructure id, which outlives that state.
    """
    signed = flow_run.infrastructure_pid
    if not signed and flow_run.state is not None and flow_run.state.is_pending():
        signed = flow_run.state.message
    worker, slash, _ = (signed or "").rpartition("/")
    return worker if slash else None


def chunks(items: Sequence[T]) -> Iterator[list[T]]:
    """Lists that Prefect's server answers in one page each."""
    for start in range(0, len(items), PAGE):
        yield list(items[start : start + PAGE])


def flow_run_url(settings: Settings, flow_run_id: str) -> str:
    """The run's page for a person: its state, its logs, its artifacts."""
    return f"{settings.prefect_ui_url()}/runs/flow-run/{flow_run_id}"
