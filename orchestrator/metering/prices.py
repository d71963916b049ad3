"""What tokens cost, in integers: micro-dollars (millionths of a US dollar), no floats added up."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """One model's list prices, in micro-dollars per million tokens: 50_000 is $0.05."""

    input: int
    cached_input: int
    output: int


@dataclass(frozen=True)
class Rate:
    """What one model's tokens cost one batch: list prices, and the share of them not charged."""

    prices: Prices
    discount: float

    def snapshot(self) -> dict[str, float]:
        """As a ledger row and a batch keep it."""
        return {**asdict(self.prices), "discount": self.discount}


def cost_micros(usage: Mapping[str, int], prices: Prices, discount: float) -> int:
    """The charge for `usage` (`input_tokens`, of which `cached_tokens`, and `output_tokens`).

    `discount` is the share of the list price that is not charged, exact to a millionth; it applies
    to cached tokens too. Rounded down, once, to a whole micro-dollar: never in the yard's favour.
    """
    cached = min(usage.get("cached_tokens", 0), usage.get("input_tokens", 0))
    list_price = (
        (usage.get("input_tokens", 0) - cached) * prices.input
        + cached * prices.cached_input
        + usage.get("output_tokens", 0) * prices.output
    )
    charged_millionths = MILLION - round(discount * MILLION)
    return list_price * charged_millionths // (MILLION * MILLION)


def training_price_micros(list_price_micros: int, factor: float) -> int:
    """Micro-dollars per million trained tokens in a tier with this price factor, exact to a millionth."""
    return list_price_micros * round(factor * MILLION) // MILLION


def training_cost_micros(trained_tokens: int, price_micros: int) -> int:
    """The charge at `price_micros` per million tokens, rounded down: never in the yard's favour."""
    return trained_tokens * price_micros // MILLION
