"""Every limit that is in force for a caller, with what is used of it now and when it is free again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta

from sqlmodel import Session

from orchestrator import clock
from orchestrator.batches.standing import standing
from orchestrator.entitlements.effective import contracted, lowered
from orchestrator.entitlements.tiers import Tier
from orchestrator.fine_tuning.admission import live_jobs
from orchestrator.limits import at_once
from orchestrator.limits import service as limits
from orchestrator.limits.buckets import BUCKETS
from orchestrator.organizations.principal import Principal

# Of one request or one file: nothing of them is ever used up.
SIZES = ("file_bytes_max", "upload_bytes_max", "batch_lines_max", "line_bytes_max")
AT_ONCE = ("upload_parts_parallel", "requests_at_once")


@dataclass(frozen=True)
class LimitInForce:
    """One limit. `model` is None where it is not counted by model, or no model has used any of it; `used` is
    None for what is not counted; `limit` None for no limit. `source` is where its value comes from."""

    name: str
    scope: str  # "organization" or "project"
    source: str  # "tier", "contract" or "project"
    model: str | None
    limit: int | None
    used: int | None
    resets_at: datetime | None


def in_force(tx: Session, caller: Principal, tier: Tier) -> list[LimitInForce]:
    """The organization's limits, and after them those that its project lowers. `tier` is the plain tier."""
    own = contracted(tier, caller.contract)
    found = list(_of_scope(tx, caller, own, None, dict.fromkeys(caller.contract, "contract")))
    if caller.project_limits:
        lower = lowered(own, caller.project_limits)
        sources = dict.fromkeys(caller.project_limits, "project")
        theirs = _of_scope(tx, caller, lower, caller.project_id, sources)
        found += [limit for limit in theirs if limit.name in caller.project_limits]
    return found


def _of_scope(
    tx: Session, caller: Principal, tier: Tier, project_id: str | None, sources: Mapping[str, str]
) -> Iterator[LimitInForce]:
    now = clock.now()
    scope = "organization" if project_id is None else "project"
    organization_id = caller.organization_id

    def limit(
        name: str, used: int | None = None, *, model: str | None = None, resets_at: datetime | None = None
    ) -> LimitInForce:
        return LimitInForce(
            name, scope, sources.get(name, "tier"), model, getattr(tier, name), used, resets_at
        )

    for name in SIZES:
        yield limit(name)
    for name in AT_ONCE:
        used = at_once.count(tx, organization_id=organization_id, project_id=project_id, limit=name)
        yield limit(name, used)
    stands = standing(tx, organization_id=organization_id, now=now, project_id=project_id)
    midnight = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
    yield limit("batch_lines_per_day", stands.lines_today, resets_at=midnight)
    yield limit("concurrent_batches", stands.live_batches)
    jobs = live_jobs(tx, organization_id=organization_id, project_id=project_id)
    yield limit("fine_tuning_jobs", jobs) if tier.fine_tuning else replace(limit("fine_tuning_jobs"), limit=0)
    for model, tokens in stands.queued_tokens.items() or ((None, 0),):
        yield limit("queued_tokens_max", tokens, model=model)
    levels = limits.used(tx, organization_id, project_id or limits.ORGANIZATION, tier)
    for bucket in BUCKETS:
        size = bucket.size(tier)
        for model, level in _by_model(levels, bucket.level):
            empty_in = 0.0 if size is None else bucket.reset_seconds(level, size)
            yield limit(bucket.limit, round(level), model=model, resets_at=now + timedelta(seconds=empty_in))


def _by_model(levels: Mapping[str, Mapping[str, float]], name: str) -> list[tuple[str | None, float]]:
    return [(model, each[name]) for model, each in levels.items()] or [(None, 0.0)]
