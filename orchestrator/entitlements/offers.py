"""What lifts a limit and what that costs: the end of every refusal. Pure.

Nobody meets a limit without the tier that lifts it, what that tier costs a month, and what the models that it
is about cost there.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum

from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.metering.prices import Prices, dollars, training_price_micros

MODELS_SHOWN = 3


class Use(Enum):
    """What tokens would be bought for: each has its price."""

    BATCH = "batch"
    SANDBOX = "sandbox"
    TRAINING = "training"


def offer(tiers: Tiers, lifting: Tier, *, models: Sequence[str], use: Use = Use.BATCH) -> str:
    """A tier with its prices: "The Developer tier (Pay per token; large at $0.50 input, $0.25 cached input
    and $1.00 output per million tokens)"."""
    return f"The {lifting.title} tier ({'; '.join(_costs(tiers, lifting, models, use))})"


def allows(tiers: Tiers, lifting: Tier, limit: str, *, models: Sequence[str], use: Use = Use.BATCH) -> str:
    """How much more a tier allows, and what it costs."""
    most: int | None = getattr(lifting, limit)
    allowed = "any number" if most is None else f"{most:,}"
    return f"Need more? {offer(tiers, lifting, models=models, use=use)} allows {allowed}."


def more(
    tiers: Tiers,
    tier: Tier,
    limit: str,
    *,
    asked: int = 0,
    models: Sequence[str] | None = None,
    use: Use = Use.BATCH,
) -> str:
    """What to append to a refusal at a limit that some tier may have higher, `asked` or more; begins with a
    blank where there is anything to say. Without `models` it is about those that the tier names."""
    own: int | None = getattr(tier, limit)

    def higher(other: Tier) -> bool:
        bound: int | None = getattr(other, limit)
        return bound is None or bound > max(own or 0, asked - 1)

    lifting = tiers.lifting(tier, higher)
    about = named(tier) if models is None else models
    told = f" {allows(tiers, lifting, limit, models=about, use=use)}" if lifting else ""
    return told + contact(tier)


def contact(tier: Tier) -> str:
    """Whom to write to, if the organization or its tier has somebody; begins with a blank."""
    return f" Your contact: {tier.support_contact}." if tier.support_contact else ""


def named(tier: Tier) -> Sequence[str]:
    """The models that a tier counts up; none where it has all."""
    return () if tier.models == "*" else tier.models


def _costs(tiers: Tiers, lifting: Tier, models: Sequence[str], use: Use) -> Iterator[str]:
    yield lifting.monthly_price
    for model in models[:MODELS_SHOWN]:
        prices = tiers.prices.get(model)
        price = _PRICED[use](lifting, prices) if prices else None
        if price is not None:
            yield f"{model} at {price}"


def _tokens(prices: Prices, discount: float) -> str:
    costs = prices.less(discount)
    return (
        f"{dollars(costs.input)} input, {dollars(costs.cached_input)} cached input and "
        f"{dollars(costs.output)} output per million tokens"
    )


def _training(lifting: Tier, prices: Prices) -> str | None:
    if prices.training is None:
        return None
    price = training_price_micros(prices.training, lifting.training_price_factor)
    return f"{dollars(price)} per million trained tokens"


_PRICED: dict[Use, Callable[[Tier, Prices], str | None]] = {
    Use.BATCH: lambda tier, prices: _tokens(prices, tier.batch_discount),
    Use.SANDBOX: lambda tier, prices: _tokens(prices, tier.sandbox_discount),
    Use.TRAINING: _training,
}
