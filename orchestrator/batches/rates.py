"""What a batch's tokens cost, by the model that its lines name: set when it is validated, and never again."""

from collections.abc import Mapping

from sqlmodel import Session

from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches.model import Batch
from orchestrator.metering import price_lists
from orchestrator.metering.prices import Rate
from orchestrator.models.registry import Registry


def rates_now(
    tx: Session,
    registry: Registry,
    named: Mapping[str, ServedModel],
    *,
    organization_id: str,
    discount: float,
) -> dict[str, Rate]:
    """What each of these names costs an organization now; an adapter has the prices of its base."""
    prices = price_lists.current(tx, registry.prices(), organization_id=organization_id)
    return {name: Rate(prices[model.base], discount) for name, model in named.items()}


def keep_rates(batch: Batch, rates: Mapping[str, Rate]) -> None:
    """Charge the batch these rates, come what may. One that has rates keeps them."""
    if batch.rates is None:
        batch.rates = {name: rate.snapshot() for name, rate in rates.items()}


def quoted_rates(batch: Batch) -> dict[str, Rate]:
    """The rates that a validated batch was quoted."""
    return {name: Rate.of(snapshot) for name, snapshot in (batch.rates or {}).items()}


def cost_micros(batch: Batch) -> int:
    """What the lines that it has finished cost so far, rounded as the ledger rounds: model by model."""
    rates = quoted_rates(batch)
    return sum(rates[model].cost_micros(used) for model, used in batch.usage.items() if model in rates)
