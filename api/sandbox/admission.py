"""Whether a synchronous request may run now, where, and what it costs: one short transaction before the
engine is asked, and one after."""

from collections.abc import Mapping
from dataclasses import dataclass

from api.sandbox.request import SandboxRequest
from api.yard import Yard
from orchestrator import ids
from orchestrator.adapters.catalog import ServedModel, resolve
from orchestrator.adapters.service import unknown
from orchestrator.batches.segments import LineUsage
from orchestrator.engines import sandbox
from orchestrator.engines.sandbox import Place
from orchestrator.entitlements import checks
from orchestrator.entitlements.effective import contracted, lowered
from orchestrator.errors import Invalid, Unavailable
from orchestrator.limits import service as limits
from orchestrator.limits.service import Taken
from orchestrator.metering import ledger, price_lists
from orchestrator.metering.model import UsageKind
from orchestrator.metering.prices import Rate
from orchestrator.organizations.principal import Principal
from orchestrator.spending import alerts, caps

RETRY_COLD_SECONDS = 20.0  # until an engine that is being started may answer
RETRY_LOADING_SECONDS = 2.0  # until an adapter may be loaded


@dataclass(frozen=True)
class Admitted:
    """A request that may run: where, against which limits, at which price. `id` is what it is charged by."""

    id: str
    caller: Principal
    model: ServedModel
    place: Place
    taken: Taken
    rate: Rate


def admit(yard: Yard, caller: Principal, request: SandboxRequest) -> Admitted:
    """Take it in. Raises NotFound, NotEntitled, Invalid, QuotaExceeded, TooLarge, and Unavailable where no
    engine is warm: one is then being started."""
    tier = contracted(yard.tiers[caller.tier], caller.contract)
    with yard.database.transaction() as tx:
        own = caller.organization_id
        model = resolve(tx, yard.registry, [request.model], organization_id=own).get(request.model)
        if model is None:
            raise unknown(request.model)
        checks.require(checks.model_permitted(yard.tiers, tier, model.base, param="model"))
        if request.endpoint not in model.spec.endpoints:
            raise Invalid(
                f"The model '{model.id}' does not answer {request.endpoint}, but "
                f"{', '.join(model.spec.endpoints)}.",
                param="model",
            )
        caps.require_open(tx, organization_id=own, project_id=caller.project_id)
        sandbox.ask(tx, model, organization_id=own)
        place = sandbox.place(tx, model)
        if place is not None:
            lower = lowered(tier, caller.project_limits) if caller.project_limits else None
            taken = limits.take(
                tx,
                limits.Caller(own, caller.project_id, tier, lower),
                model.base,
                tokens=request.tokens_reserved(model.spec.context_length),
                tiers=yard.tiers,
            )
            prices = price_lists.current(tx, yard.registry.prices(), organization_id=own)
            rate = Rate(prices[model.base], tier.sandbox_discount)
            return Admitted(ids.new("req_"), caller, model, place, taken, rate)
    raise _cold(model)  # after the commit: that somebody has asked must stay


def settle(yard: Yard, admitted: Admitted, used: LineUsage, *, answered: bool) -> None:
    """Give back what was not used of the limits, and charge what the engine has counted. Cached tokens do not
    count against limits."""
    with yard.database.transaction() as tx:
        limits.settle(tx, admitted.taken, tokens=used.input_tokens - used.cached_tokens + used.output_tokens)
        if not answered:
            return
        caller, counted = admitted.caller, _counted(used)
        ledger.charge(
            tx,
            key=admitted.id,
            kind=UsageKind.SANDBOX,
            organization_id=caller.organization_id,
            project_id=caller.project_id,
            resource_id=admitted.id,
            model=admitted.model.id,
            used=counted,
            prices=admitted.rate.snapshot(),
            cost_micros=admitted.rate.cost_micros(counted),
        )
        alerts.fire(tx, organization_id=caller.organization_id, project_id=caller.project_id)


def _counted(used: LineUsage) -> Mapping[str, int]:
    return {
        "lines": 1,
        "input_tokens": used.input_tokens,
        "cached_tokens": used.cached_tokens,
        "output_tokens": used.output_tokens,
    }


def _cold(model: ServedModel) -> Unavailable:
    if model.adapter is not None:
        return Unavailable(
            f"The model '{model.id}' is not loaded yet. It is being loaded, which takes some seconds, or an "
            "engine for its base is being started. Try again; a batch waits for it by itself.",
            code="model_cold",
            retry_after_seconds=RETRY_LOADING_SECONDS,
        )
    return Unavailable(
        f"No engine for '{model.id}' is warm. One is started as soon as a GPU is free, which takes half a "
        "minute or more. Try again; a batch waits for it by itself.",
        code="model_cold",
        retry_after_seconds=RETRY_COLD_SECONDS,
    )
