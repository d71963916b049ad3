"""Tiers: what every plan allows, for everyone to read."""

from typing import Literal

from fastapi import APIRouter

from api.deps import YardDep
from api.schemas.wire import Wire
from orchestrator.entitlements.tiers import Tier

router = APIRouter(tags=["Tiers"])


SANDBOX = (
    "Synchronous requests are a sandbox, to try a model before a batch: small limits, warm engines, and no "
    "promise of latency."
)


class TierList(Wire):
    """Every tier, cheapest first, and what the `requests_…` and `tokens_…` limits are for."""

    object: Literal["list"] = "list"
    sandbox: str = SANDBOX
    data: list[Tier]


@router.get("/tiers")
def list_tiers(yard: YardDep) -> TierList:
    """Every limit there is, tier by tier, as the operator's `tiers.toml` has it; null means no
    limit. No key is needed."""
    return TierList(data=list(yard.tiers))
