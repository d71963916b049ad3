"""Rows that belong to no single resource: what happened to statuses, and who leads."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from orchestrator.database.columns import moment


class StatusChange(SQLModel, table=True):
    """One recorded move along one edge of one resource's state machine."""

    __tablename__ = "status_change"

    id: int | None = Field(default=None, primary_key=True)
    resource: str = Field(max_length=32)
    resource_id: str = Field(max_length=64, index=True)
    old: str = Field(max_length=32)
    new: str = Field(max_length=32)
    trigger: str = Field(max_length=32)
    actor: str = Field(max_length=64)
    reason: str | None = None
    at: datetime = moment(nullable=False)


class Lease(SQLModel, table=True):
    """A named role that one process holds at a time, such as the dispatcher."""

    __tablename__ = "lease"

    name: str = Field(primary_key=True, max_length=64)
    token: str = Field(max_length=64)
    expires_at: datetime = moment(nullable=False)
