"""Whether a batch may be created: what its parameters must be, and what the tier allows just
now."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlmodel import Session

from orchestrator import clock, metadata
from orchestrator.adapters.catalog import ServedModel, usable
from orchestrator.batches.model import OnInvalidLine
from orchestrator.batches.named_models import admitted, named_in
from orchestrator.batches.standing import queued_tokens, standing
from orchestrator.entitlements import checks
from orchestrator.entitlements.effective import contracted, lowered, priority
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.errors import Invalid
from orchestrator.files.model import File
from orchestrator.models.endpoints import ENDPOINTS
from orchestrator.models.registry import Registry
from orchestrator.organizations.model import Organization
from orchestrator.organizations.principal import Principal


@dataclass(frozen=True)
class NewBatch:
    """What a customer asks for. `retry_of` names the batch whose unfinished lines are to run
    again."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Mapping[str, str] | None = None
    output_expires_after_seconds: int | None = None
    on_invalid_line: OnInvalidLine = OnInvalidLine.FAIL
    retry_of: str | None = None

    def digest(self) -> str:
        """The same for the same parameters, whatever their order."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Rules:
    """What is allowed: the organization's limits among all tiers', the base models of this yard, its place in
    the queue, and where it has lower limits, the project with them."""

    tiers: Tiers
    tier: Tier
    registry: Registry
    priority: int
    project: tuple[str, Tier] | None = None

    @staticmethod
    def of(organization: Organization, caller: Principal, *, tiers: Tiers, registry: Registry) -> "Rules":
        """Those for a caller of that organization."""
        tier = contracted(tiers[organization.tier], organization.limits, organization.support_contact)
        own = (caller.project_id, lowered(tier, caller.project_limits)) if caller.project_limits else None
        sooner = priority(tiers, tier, organization.priority)
        return Rules(tiers=tiers, tier=tier, registry=registry, priority=sooner, project=own)


def check_parameters(new: NewBatch, rules: Rules) -> None:
    """Raise Invalid unless every parameter is one that the tier's batches may have."""
    if new.endpoint not in ENDPOINTS:
        supported = ", ".join(f"'{endpoint}'" for endpoint in ENDPOINTS)
        raise Invalid(
            f"Invalid value: '{new.endpoint}'. Supported values are: {supported}.",
            param="endpoint",
        )
    checks.require(checks.completion_window(rules.tiers, rules.tier, new.completion_window))
    metadata.check(new.metadata or {})


def check_limits(tx: Session, file: File, *, lines: int, rules: Rules) -> None:
    """Raise where the tier does not allow a batch of `lines` of this file's lines, or not now. Hold
    the organization's row: two batches that are checked at once could both be the last.

    Models that the organization cannot see are left to validation, which
    names each line.
    """
    named = named_in(tx, rules.registry, file)
    own = file.organization_id
    for model in named.values():
        checks.require(usable(rules.tiers, rules.tier, model, organization_id=own, param="body.model"))
    _check_room(tx, file, rules.tier, None, lines=lines, rules=rules)
    if rules.project is not None:
        project_id, lower = rules.project
        _check_room(tx, file, lower, project_id, lines=lines, rules=rules)


def _check_room(
    tx: Session, file: File, tier: Tier, project_id: str | None, *, lines: int, rules: Rules
) -> None:
    """Raise where the limits of the organization, or of one project, have no room for so many lines now."""
    tiers = rules.tiers
    checks.require(checks.line_count(tiers, tier, lines))
    now = clock.now()
    used = standing(tx, organization_id=file.organization_id, now=now, project_id=project_id)
    checks.require(checks.concurrent_batches(tiers, tier, used=used.live_batches))
    checks.require(checks.lines_per_day(tiers, tier, used=used.lines_today, requested=lines, now=now))
    asked = queued_tokens(file, lines=lines)
    names = {*used.queued_tokens, *asked}
    known = admitted(tx, rules.registry, names, organization_id=file.organization_id)
    queued = _by_base(used.queued_tokens, known)
    for base, tokens in _by_base(asked, known).items():
        checks.require(checks.queued_tokens(tiers, tier, model=base, used=queued[base], requested=tokens))


def _by_base(tokens: Mapping[str, int], known: Mapping[str, ServedModel]) -> Counter[str]:
    """Tokens by base model; a name that stands for nothing is its own."""
    by_base: Counter[str] = Counter()
    for name, count in tokens.items():
        by_base[known[name].base if name in known else name] += count
    return by_base
