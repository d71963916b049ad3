"""Which scope a route takes: the family that its path belongs to, and `read` for GET, `write` for all else.

A path belongs to the longest entry that begins it. A route of a new family does not answer before it
stands here.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache

from orchestrator.organizations.scopes import Scope


class Family(StrEnum):
    """The first half of a scope."""

    FILES = "files"
    BATCHES = "batches"
    FINE_TUNING = "fine_tuning"
    MODELS = "models"
    INFERENCE = "inference"
    WEBHOOKS = "webhooks"
    KEYS = "keys"
    USAGE = "usage"
    SPENDING = "spending"
    ORGANIZATION = "organization"
    YARD = "yard"  # for operators; to anybody else these routes do not exist


PROJECT = "/organization/projects/{project_id}"

FAMILIES: Mapping[str, Family] = {
    "/files": Family.FILES,
    "/uploads": Family.FILES,
    "/batches": Family.BATCHES,
    "/fine_tuning": Family.FINE_TUNING,
    "/fine_tunings": Family.FINE_TUNING,
    "/models": Family.MODELS,
    "/chat": Family.INFERENCE,
    "/completions": Family.INFERENCE,
    "/embeddings": Family.INFERENCE,
    "/responses": Family.INFERENCE,
    "/webhook_endpoints": Family.WEBHOOKS,
    "/webhook_event_types": Family.WEBHOOKS,
    "/limits": Family.USAGE,
    "/usage": Family.USAGE,
    "/invoices": Family.USAGE,
    "/organization": Family.ORGANIZATION,
    "/organization/usage": Family.USAGE,
    "/organization/costs": Family.USAGE,
    "/organization/spending": Family.SPENDING,
    "/organization/spend_limit": Family.SPENDING,
    "/organization/spend_alerts": Family.SPENDING,
    f"{PROJECT}/spend_limit": Family.SPENDING,
    f"{PROJECT}/spend_alerts": Family.SPENDING,
    f"{PROJECT}/api_keys": Family.KEYS,
    "/organization/admin_api_keys": Family.KEYS,
    "/organizations": Family.YARD,
    "/reservations": Family.YARD,
}

# Routes that are not of their path's family. None: every key may, whatever its scopes.
EXCEPTIONS: Mapping[tuple[str, str], Scope | None] = {
    ("GET", "/organization"): None,
    ("POST", "/models/{model:path}"): Scope.YARD_WRITE,
}


@cache  # as many as there are routes
def needed(method: str, path: str) -> Scope | None:
    """The scope that a route takes; None: any key will do. `path` is its template, without `/v1`.

    Raises LookupError where the table does not know it: no request passes then.
    """
    if (method, path) in EXCEPTIONS:
        return EXCEPTIONS[method, path]
    segments = path.split("/")
    for length in range(len(segments), 1, -1):
        family = FAMILIES.get("/".join(segments[:length]))
        if family is not None:
            return Scope(f"{family}:{'read' if method in ('GET', 'HEAD') else 'write'}")
    raise LookupError(f"{method} {path} stands in no family of {__name__}.FAMILIES")
