"""What tokens cost, in integers: micro-dollars (millionths of a US dollar), no floats added up.

Every amount in the yard is in CURRENCY; no other file names it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

CURRENCY = "usd"  # ISO 4217, in small letters as OpenAI writes it
MICROS = 1_000_000  # in one dollar
MILLION = 1_000_000  # prices are for so many tokens


@dataclass(frozen=True)
class Prices:
    """One model's list prices, in micro-dollars per million tokens: 50_000 is $0.05. `training` is for
    trained tokens, None where the model is not fine-tuned here."""

    input: int
    cached_input: int
    output: int
    training: int | None = None

    def less(self, discount: float) -> "Prices":
        """What a million tokens cost at a discount, which trained tokens have none of; each rounded down."""
        charged = _charged_millionths(discount)
        return Prices(
            self.input * charged // MILLION,
            self.cached_input * charged // MILLION,
            self.output * charged // MILLION,
            self.training,
        )


@dataclass(frozen=True)
class Rate:
    """What one model's tokens cost one batch: list prices, and the share of them not charged."""

    prices: Prices
    discount: float

    def snapshot(self) -> dict[str, float]:
        """As a ledger row and a batch keep it."""
        prices = asdict(self.prices)
        del prices["training"]
        return {**prices, "discount": self.discount}

    @classmethod
    def of(cls, snapshot: Mapping[str, Any]) -> Self:
        """The rate that a snapshot was made of."""
        prices = Prices(snapshot["input"], snapshot["cached_input"], snapshot["output"])
        return cls(prices, snapshot["discount"])

    def cost_micros(self, usage: Mapping[str, int]) -> int:
        """The charge for `usage`, as the function of this name."""
        return cost_micros(usage, self.prices, self.discount)


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
    return list_price * _charged_millionths(discount) // (MILLION * MILLION)


def _charged_millionths(discount: float) -> int:
    return MILLION - round(discount * MILLION)


def decimal(micros: int) -> str:
    """An amount as a plain decimal number of dollars, exact: 1_234_567 is "1.234567"."""
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    return f"{sign}{micros // MICROS}.{micros % MICROS:06d}"


def dollars(micros: int) -> str:
    """An amount for people, exact: "$12.50", "$1,000.00", "$0.000041"."""
    cents = decimal(micros).rstrip("0")
    whole, _, places = cents.partition(".")
    return f"${int(whole):,}.{places:0<2}" if micros >= 0 else f"-{dollars(-micros)}"


def training_price_micros(list_price_micros: int, factor: float) -> int:
    """Micro-dollars per million trained tokens in a tier with this price factor, exact to a millionth."""
    return list_price_micros * round(factor * MILLION) // MILLION


def training_cost_micros(trained_tokens: int, price_micros: int) -> int:
    """The charge at `price_micros` per million tokens, rounded down: never in the yard's favour."""
    return trained_tokens * price_micros // MILLION
