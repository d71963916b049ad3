"""Tiers: what every plan allows, for everyone to read."""

from typing import Literal

from fastapi import APIRouter

from api.deps import YardDep
from api.schemas.wire import Wire
from orchestrator.entitlements.tiers import Tier

router = APIRouter(tags=["Tiers"])


class TierList(Wire):
    """Every tier, cheapest first."""

    object: Literal["list"] = "list"
    data: list[Tier]


@router.get("/tiers")
def list_tiers(yard: YardDep) -> TierList:
    """Every limit there is, tier by tier, as the operator's `tiers.toml` has it; null means no
    limit. No key is needed."""
    return TierList(data=list(yard.tiers))
