"""Whether a batch may be created: what its parameters must be, and what the tier allows just
now."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

from sqlmodel import Session

from orchestrator import clock
from orchestrator.batches.model import OnInvalidLine
from orchestrator.batches.standing import queued_tokens, standing, summary_of
from orchestrator.entitlements import checks
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.errors import Invalid
from orchestrator.files.model import File
from orchestrator.models.endpoints import ENDPOINTS

# OpenAI's bounds on metadata.
METADATA_PAIRS_MAX = 16
METADATA_KEY_CHARACTERS_MAX = 64
METADATA_VALUE_CHARACTERS_MAX = 512


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
    """What is allowed: the organization's tier among all tiers, and the models that this yard
    has."""

    tiers: Tiers
    tier: Tier
    models: Collection[str]


def check_parameters(new: NewBatch, rules: Rules) -> None:
    """Raise Invalid unless every parameter is one that the tier's batches may have."""
    if new.endpoint not in ENDPOINTS:
        supported = ", ".join(f"'{endpoint}'" for endpoint in ENDPOINTS)
        raise Invalid(
            f"Invalid value: '{new.endpoint}'. Supported values are: {supported}.",
            param="endpoint",
        )
    checks.require(checks.completion_window(rules.tiers, rules.tier, new.completion_window))
    metadata = new.metadata or {}
    if len(metadata) > METADATA_PAIRS_MAX:
        raise Invalid(
            f"Invalid 'metadata': expected at most {METADATA_PAIRS_MAX} pairs, found {len(metadata)}.",
            param="metadata",
        )
    for key, value in metadata.items():
        _check_length("key", key, METADATA_KEY_CHARACTERS_MAX, of=key)
        _check_length("value", value, METADATA_VALUE_CHARACTERS_MAX, of=key)


def check_limits(tx: Session, file: File, *, lines: int, rules: Rules) -> None:
    """Raise where the tier does not allow a batch of `lines` of this file's lines, or not now. Hold
    the organization's row: two batches that are checked at once could both be the last.

    Models that the yard does not have are left to validation, which names each line.
    """
    tiers, tier = rules.tiers, rules.tier
    for model in summary_of(file).models:
        if model in rules.models:
            checks.require(checks.model_permitted(tiers, tier, model))
    checks.require(checks.line_count(tiers, tier, lines))
    now = clock.now()
    used = standing(tx, organization_id=file.organization_id, now=now)
    checks.require(checks.concurrent_batches(tiers, tier, used=used.live_batches))
    checks.require(checks.lines_per_day(tiers, tier, used=used.lines_today, requested=lines, now=now))
    for model, tokens in queued_tokens(file, lines=lines).items():
        queued = used.queued_tokens.get(model, 0)
        checks.require(checks.queued_tokens(tiers, tier, model=model, used=queued, requested=tokens))


def _check_length(what: str, text: str, most: int, *, of: str) -> None:
    if len(text) > most:
        raise Invalid(
            f"Invalid 'metadata': a {what} may have up to {most} characters, found {len(text)}.",
            param=f"metadata.{of[:METADATA_KEY_CHARACTERS_MAX]}",
        )
