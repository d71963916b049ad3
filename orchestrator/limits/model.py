"""How much of the limits is used, of rates and of what is under way at once: the one state that every API
process reads and writes."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import moment


class RateUse(SQLModel, table=True):
    """Four leaking buckets of one model, of a whole organization (`project_id` "") or of one project: what is
    used of each limit at `at`; it drains evenly, so that a full one is empty after its minute or its day."""

    __tablename__ = "rate_use"

    organization_id: str = Field(primary_key=True, foreign_key="organization.id", max_length=64)
    project_id: str = Field(primary_key=True, default="", max_length=64)
    model: str = Field(primary_key=True, max_length=256)
    requests_minute: float = 0.0
    requests_day: float = 0.0
    tokens_minute: float = 0.0
    tokens_day: float = 0.0
    at: datetime = moment(nullable=False)


class Underway(SQLModel, table=True):
    """One of something that counts against a limit on how many there are at once. What died before it could
    end counts until `until`."""

    __tablename__ = "underway"
    __table_args__ = (Index("ix_underway_count", "organization_id", "limit", "until"),)

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    limit: str = Field(max_length=64)
    until: datetime = moment(nullable=False)
