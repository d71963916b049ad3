"""The audit log: who changed a key, a tier, a limit, a price or a role, and from what to what."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import document, moment


class AuditEntry(SQLModel, table=True):
    """One change. `actor` is the id of the key that made it, or `system`; `subject_id` what was changed.
    `before` and `after` hold only the fields that changed, never a secret."""

    __tablename__ = "audit_entry"
    __table_args__ = (Index("ix_audit_entry_list", "organization_id", "created_at", "id"),)

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str | None = Field(default=None, max_length=64)
    action: str = Field(max_length=64)  # "api_key.created", "project.updated", "tier.changed"
    actor: str = Field(max_length=64)
    subject_id: str = Field(max_length=256)
    before: dict[str, Any] | None = document(default=None)
    after: dict[str, Any] | None = document(default=None)
    created_at: datetime = moment(nullable=False)
