"""What preparation must know of the yard and of a tier: one spec for batches and for validation
before there is one."""

from functools import partial
from pathlib import Path

from orchestrator.batches.preparation import PreparationSpec
from orchestrator.batches.validation import LineLimits
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.models.registry import Registry


def preparation_spec(
    *,
    source: Path,
    folder: Path,
    registry: Registry,
    tiers: Tiers,
    tier: Tier,
    only_lines: frozenset[int] | None = None,
) -> PreparationSpec:
    """How to prepare `source` for a customer of `tier`, writing into `folder`."""
    models = registry.all()
    tier_with = {
        spec.id: lifting.title
        for spec in models
        if (lifting := tiers.cheapest_with(partial(_permits, spec.id)))
    }
    return PreparationSpec(
        input=source,
        folder=folder,
        limits=LineLimits(lines_max=tier.batch_lines_max, line_bytes_max=tier.line_bytes_max),
        models={spec.id: spec.tokens() for spec in models},
        permitted=frozenset(spec.id for spec in models if tier.permits(spec.id)),
        tier_with=tier_with,
        only_lines=only_lines,
    )


def _permits(model: str, tier: Tier) -> bool:
    return tier.permits(model)
