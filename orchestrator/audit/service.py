"""The audit log: written in the transaction of the change itself, read page by page, never changed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import Session, col

from orchestrator import clock, ids
from orchestrator.audit.actions import Action
from orchestrator.audit.model import AuditEntry
from orchestrator.database.pages import Page, PageRequest, fetch

SYSTEM = "system"  # the actor where no key asked


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
    """Keep that `actor` (a key's id, or `system`) did `action` to `subject_id`; `before` and `after` are the
    fields that changed, never a secret."""
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


@dataclass(frozen=True)
class Sought:
    """Which entries to show. None: whatever it is. `since` is included, `until` is not."""

    actions: Collection[str] | None = None
    actors: Collection[str] | None = None
    subjects: Collection[str] | None = None
    projects: Collection[str] | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_page(tx: Session, page: PageRequest, sought: Sought, *, organization_id: str) -> Page[AuditEntry]:
    """One page of what was changed in an organization."""
    where: list[ColumnElement[bool]] = []
    for column, values in (
        (AuditEntry.action, sought.actions),
        (AuditEntry.actor, sought.actors),
        (AuditEntry.subject_id, sought.subjects),
        (AuditEntry.project_id, sought.projects),
    ):
        if values is not None:
            where.append(col(column).in_(values))
    if sought.since is not None:
        where.append(col(AuditEntry.created_at) >= sought.since)
    if sought.until is not None:
        where.append(col(AuditEntry.created_at) < sought.until)
    return fetch(tx, AuditEntry, page, organization_id=organization_id, where=where)
