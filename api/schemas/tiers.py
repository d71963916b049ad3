"""Tiers as everybody sees them: every limit, and what every public model costs."""

from typing import Literal

from api.schemas.models import ModelObject
from api.schemas.wire import Wire
from orchestrator.entitlements.tiers import Tier

SANDBOX = (
    "Synchronous requests are a sandbox, to try a model before a batch: small limits, warm engines, and no "
    "promise of latency."
)


class TierList(Wire):
    """Every tier, cheapest first, and what the `requests_…` and `tokens_…` limits are for. `models` are at
    list prices: a tier takes its `batch_discount` off, and its `training_price_factor` is for training."""

    object: Literal["list"] = "list"
    sandbox: str = SANDBOX
    data: list[Tier]
    models: list[ModelObject]
