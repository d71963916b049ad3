"""The limits that are in force for somebody: the tier's, what a contract puts in their place, and what a
project lowers of them."""

from collections.abc import Mapping

from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.errors import Invalid

LIMITS = (
    "file_bytes_max",
    "upload_bytes_max",
    "batch_lines_max",
    "batch_lines_per_day",
    "concurrent_batches",
    "queued_tokens_max",
    "fine_tuning_jobs",
    "requests_per_minute",
    "requests_per_day",
    "tokens_per_minute",
    "tokens_per_day",
    "requests_at_once",
)
UNLIMITED_OK = frozenset(LIMITS) - {"file_bytes_max", "upload_bytes_max", "batch_lines_max"}


def contracted(tier: Tier, contract: Mapping[str, int | None], support_contact: str | None = None) -> Tier:
    """The tier as an organization has it, with the values that its contract names, None for no limit, and
    with whom its people write to."""
    own: dict[str, int | str | None] = dict(contract)
    if support_contact:
        own["support_contact"] = support_contact
    return tier.model_copy(update=own) if own else tier


def lowered(tier: Tier, project: Mapping[str, int]) -> Tier:
    """An organization's tier as one of its projects has it: of two limits the lower."""
    lower = {}
    for name, value in project.items():
        own: int | None = getattr(tier, name)
        lower[name] = value if own is None else min(own, value)
    return tier.model_copy(update=lower) if lower else tier


def priority(tiers: Tiers, tier: Tier, added: int) -> int:
    """The tier's priority with what a contract adds, as far as that stays within the tier's own."""
    own = tiers.priorities(tier)
    return min(max(tier.priority + added, own[0]), own[-1])


def check_priority(tiers: Tiers, tier: Tier, added: int) -> None:
    """Raise Invalid for what leaves the priorities of the tier."""
    own = tiers.priorities(tier)
    if tier.priority + added not in own:
        raise Invalid(
            f"Within the {tier.title} tier, whose priority is {tier.priority}, a contract can add from "
            f"{own[0] - tier.priority} (sooner) to {own[-1] - tier.priority} (later); asked for {added}.",
            param="priority",
        )


def check_contract(limits: Mapping[str, int | None]) -> None:
    """Raise Invalid for what no contract can say."""
    for name, value in limits.items():
        _check_name(name)
        if value is None and name not in UNLIMITED_OK:
            raise Invalid(f"'{name}' cannot be without a limit: name a number.", param=f"limits.{name}")
        _check_value(name, value)


def check_project(limits: Mapping[str, int], tier: Tier) -> None:
    """Raise Invalid for what a project of an organization with this tier cannot have: nothing above it."""
    for name, value in limits.items():
        _check_name(name)
        _check_value(name, value)
        own: int | None = getattr(tier, name)
        if own is not None and value > own:
            raise Invalid(
                f"A project can only lower '{name}': your organization has {own:,}, asked for {value:,}.",
                param=f"limits.{name}",
            )


def _check_name(name: str) -> None:
    if name not in LIMITS:
        raise Invalid(f"Unknown limit '{name}'. There are: {', '.join(LIMITS)}.", param=f"limits.{name}")


def _check_value(name: str, value: int | None) -> None:
    if value is not None and not 1 <= value < 2**53:
        raise Invalid(f"'{name}' is a whole number from 1; found {value}.", param=f"limits.{name}")
