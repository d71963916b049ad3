"""Writing the audit log, in the transaction of the change itself."""

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session

from orchestrator import clock, ids
from orchestrator.audit.actions import Action
from orchestrator.audit.model import AuditEntry


def record(
    tx: Session,
    action: Action,
    *,
    organization_id: str,
    actor: str,
    subject_id: str,
    project_id: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Keep that `actor` (a key's id, or `system`) did `action` to `subject_id`; `before`
    and `after` are the fields that changed, never a secret."""
    entry = AuditEntry(
        id=ids.new("audit_log-"),
        organization_id=organization_id,
        project_id=project_id,
        action=action,
        actor=actor,
        subject_id=subject_id,
        before=None if before is None else dict(before),
        after=None if after is None else dict(after),
        created_at=clock.now(),
    )
    tx.add(entry)
    return entry
