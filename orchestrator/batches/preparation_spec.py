"""What preparation must know of the yard and of a tier: one spec for batches and for validation
before there is one."""

from collections.abc import Mapping
from pathlib import Path

from orchestrator.adapters.catalog import ServedModel, usable
from orchestrator.batches.preparation import PreparationSpec
from orchestrator.batches.validation import LineLimits
from orchestrator.entitlements import offers
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.entitlements.verdicts import Refused
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
    bases = registry.seen_by(organization_id).all()
    known = {spec.id: ServedModel(spec.id, spec) for spec in bases} | dict(named)
    verdicts = {
        name: usable(tiers, tier, model, organization_id=organization_id) for name, model in known.items()
    }
    return PreparationSpec(
        input=source,
        folder=folder,
        limits=line_limits(tiers, tier),
        models={name: model.spec.tokens() for name, model in known.items()},
        refused={name: found.message for name, found in verdicts.items() if isinstance(found, Refused)},
        only_lines=only_lines,
    )


def line_limits(tiers: Tiers, tier: Tier) -> LineLimits:
    """The limits of a tier on a file's lines, and in words what lifts them."""
    return LineLimits(
        lines_max=tier.batch_lines_max,
        line_bytes_max=tier.line_bytes_max,
        for_more_lines=offers.more(tiers, tier, "batch_lines_max"),
        for_longer_lines=offers.more(tiers, tier, "line_bytes_max"),
    )
