"""What preparation must know of the yard and of a tier: one spec for batches and for validation
before there is one."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches.preparation import PreparationSpec
from orchestrator.batches.validation import LineLimits
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.models.registry import Registry


def preparation_spec(
    *,
    source: Path,
    folder: Path,
    registry: Registry,
    organization_id: str,
    named: Mapping[str, ServedModel],
    tiers: Tiers,
    tier: Tier,
    only_lines: frozenset[int] | None = None,
) -> PreparationSpec:
    """How to prepare `source` for an organization of `tier`, writing into `folder`.

    `named` are the models that its lines name; of them, adapters have the tokenizer, the context and the
    endpoints of their base, and the tiers that have it.
    """
    seen = registry.seen_by(organization_id).all()
    specs = {spec.id: spec for spec in seen} | {name: model.spec for name, model in named.items()}
    tier_with = {
        name: lifting.title
        for name, spec in specs.items()
        if (lifting := tiers.cheapest_with(partial(_permits, spec.id)))
    }
    return PreparationSpec(
        input=source,
        folder=folder,
        limits=LineLimits(lines_max=tier.batch_lines_max, line_bytes_max=tier.line_bytes_max),
        models={name: spec.tokens() for name, spec in specs.items()},
        permitted=frozenset(name for name, spec in specs.items() if tier.permits(spec.id)),
        tier_with=tier_with,
        only_lines=only_lines,
    )


def _permits(model: str, tier: Tier) -> bool:
    return tier.permits(model)
