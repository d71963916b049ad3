"""Whether a synchronous request may run now, where, and what it costs: one short transaction before the
engine is asked, and one after."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlmodel import Session

from api.sandbox.request import SandboxRequest
from api.yard import Yard
from orchestrator import ids
from orchestrator.adapters.catalog import ServedModel, resolve, usable
from orchestrator.adapters.service import unknown
from orchestrator.batches.segments import LineUsage
from orchestrator.engines import sandbox
from orchestrator.engines.sandbox import Absent, Place
from orchestrator.entitlements import checks, offers
from orchestrator.entitlements.effective import lowered
from orchestrator.entitlements.offers import Use
from orchestrator.errors import Invalid, Unavailable
from orchestrator.limits import at_once
from orchestrator.limits import service as limits
from orchestrator.limits.service import Taken
from orchestrator.metering import ledger, price_lists
from orchestrator.metering.model import UsageKind
from orchestrator.metering.prices import Rate
from orchestrator.organizations.principal import Principal
from orchestrator.spending import alerts, caps

COLD = "model_cold"
UNDER_WAY_SECONDS_MAX = 900.0  # what its process did not live to end counts so long, and so does a stream
LOADING_SECONDS_MAX = 5.0  # a request waits so long for its adapter to be loaded
LOADING_LOOK_SECONDS = 0.25
RETRY_LOADING_SECONDS = 2.0
RETRY_COLD_SECONDS = 20.0  # where no start of such an engine has been seen yet
RETRY_COLD_SECONDS_MAX = 60.0  # the official clients wait no longer


@dataclass(frozen=True)
class Admitted:
    """A request that may run: where, against which limits, at which price. `id` is what it is charged by."""

    id: str
    caller: Principal
    model: ServedModel
    place: Place
    taken: Taken
    rate: Rate


@dataclass(frozen=True)
class _Turned:
    """A request that no engine can take now. That somebody has asked is noted."""

    model: ServedModel
    absent: Absent


async def admit(yard: Yard, caller: Principal, request: SandboxRequest) -> Admitted:
    """Take it in, once its adapter is loaded. Raises NotFound, NotEntitled, Invalid, QuotaExceeded, TooLarge,
    and Unavailable where no engine has the model: one is then being started."""
    deadline = time.monotonic() + LOADING_SECONDS_MAX
    while isinstance(found := await asyncio.to_thread(_admit, yard, caller, request), _Turned):
        if not found.absent.loading or time.monotonic() > deadline:
            raise _cold(found.model, found.absent)
        await asyncio.sleep(LOADING_LOOK_SECONDS)
    return found


def settle(yard: Yard, admitted: Admitted, used: LineUsage | None) -> None:
    """Give back what was not used of the limits, and charge what the engine has counted; None where it has
    not answered, which is free. Cached tokens do not count against limits."""
    counted = used or LineUsage()
    fresh = counted.input_tokens - counted.cached_tokens + counted.output_tokens
    with yard.database.transaction() as tx:
        at_once.end(tx, admitted.id)
        limits.settle(tx, admitted.taken, tokens=fresh)
        if used is not None:
            _charge(tx, admitted, _tokens(used))


def leave(yard: Yard, admitted: Admitted) -> None:
    """Nothing was answered and nobody is left to have it: what was reserved of the limits stays used."""
    with yard.database.transaction() as tx:
        at_once.end(tx, admitted.id)


def loading(model: ServedModel) -> Unavailable:
    """What a request is told whose adapter no engine has just now."""
    return Unavailable(
        f"The model '{model.id}' is not loaded on an engine. It is being loaded, usually in seconds. Try "
        "again; a batch waits for it by itself.",
        code=COLD,
        retry_after_seconds=RETRY_LOADING_SECONDS,
    )


def _admit(yard: Yard, caller: Principal, request: SandboxRequest) -> Admitted | _Turned:
    tier = yard.contracted(caller)
    own = caller.organization_id
    with yard.database.transaction() as tx:
        model = resolve(tx, yard.registry, [request.model], organization_id=own).get(request.model)
        if model is None:
            raise unknown(request.model)
        checks.require(usable(yard.tiers, tier, model, organization_id=own))
        if request.endpoint not in model.spec.endpoints:
            raise Invalid(
                f"The model '{model.id}' does not answer {request.endpoint}, but "
                f"{', '.join(model.spec.endpoints)}.",
                param="model",
            )
        caps.require_open(tx, organization_id=own, project_id=caller.project_id)
        sandbox.ask(tx, model, organization_id=own)
        place = sandbox.find(tx, model)
        if isinstance(place, Absent):
            return _Turned(model, place)
        id = ids.new("req_")
        at_once.begin(
            tx,
            id,
            organization_id=own,
            project_id=caller.project_id,
            limit="requests_at_once",
            allowed=tier.requests_at_once,
            project_allowed=caller.project_limits.get("requests_at_once"),
            seconds=UNDER_WAY_SECONDS_MAX,
            more=offers.more(yard.tiers, tier, "requests_at_once", models=[request.model], use=Use.SANDBOX),
        )
        taken = limits.take(
            tx,
            limits.Caller(
                own,
                caller.project_id,
                tier,
                lowered(tier, caller.project_limits) if caller.project_limits else None,
            ),
            model.base,
            tokens=request.tokens_reserved(model.spec.context_length),
            tiers=yard.tiers,
        )
        prices = price_lists.current(tx, yard.registry.prices(), organization_id=own)
        rate = Rate(prices[model.base], tier.sandbox_discount)
        return Admitted(id, caller, model, place, taken, rate)


def _charge(tx: Session, admitted: Admitted, tokens: Mapping[str, int]) -> None:
    caller = admitted.caller
    ledger.charge(
        tx,
        key=admitted.id,
        kind=UsageKind.SANDBOX,
        organization_id=caller.organization_id,
        project_id=caller.project_id,
        resource_id=admitted.id,
        model=admitted.model.id,
        used=tokens,
        prices=admitted.rate.snapshot(),
        cost_micros=admitted.rate.cost_micros(tokens),
    )
    alerts.fire(tx, organization_id=caller.organization_id, project_id=caller.project_id)


def _tokens(used: LineUsage) -> Mapping[str, int]:
    return {
        "lines": 1,
        "input_tokens": used.input_tokens,
        "cached_tokens": used.cached_tokens,
        "output_tokens": used.output_tokens,
    }


def _cold(model: ServedModel, absent: Absent) -> Unavailable:
    if absent.loading:
        return loading(model)
    if model.spec.url is not None:
        return Unavailable(f"The server of '{model.id}' does not answer just now. Try again.", code=COLD)
    if absent.why_not is not None:
        return Unavailable(
            f"Engines do not take '{model.id}': {absent.why_not}",
            code=COLD,
            retry_after_seconds=RETRY_COLD_SECONDS_MAX,
        )
    seconds = absent.start_seconds
    usually = "" if seconds is None else f", usually {seconds:.0f} s from then"
    return Unavailable(
        f"No engine of '{model.id}' is warm. One is started as soon as a GPU is free{usually}. Try again; a "
        "batch waits for it by itself.",
        code=COLD,
        retry_after_seconds=min(seconds or RETRY_COLD_SECONDS, RETRY_COLD_SECONDS_MAX),
    )
