"""What an organization or a project may spend in a month, what it wants to be told of before, and the parts
of it that live work holds.

Money is whole micro-dollars. `project_id` is "" where a row speaks for a whole organization.
"""

from datetime import date, datetime

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import big, document, moment


class SpendLimit(SQLModel, table=True):
    """A monthly cap. `reached_at` is when work last stopped at it; a new cap begins without."""

    __tablename__ = "spend_limit"

    organization_id: str = Field(primary_key=True, foreign_key="organization.id", max_length=64)
    project_id: str = Field(primary_key=True, default="", max_length=64)
    cap_micros: int = big()
    reached_at: datetime | None = moment()
    updated_at: datetime = moment(nullable=False)


class SpendHold(SQLModel, table=True):
    """The part of a spend limit that one live batch or fine-tuning job has to itself. `granted_micros` is all
    it may cost so far, `spent_micros` what it has cost; the row goes when the charge comes."""

    __tablename__ = "spend_hold"

    resource_id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", index=True, max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    granted_micros: int = big()
    spent_micros: int = big(default=0)
    created_at: datetime = moment(nullable=False)


class SpendAlert(SQLModel, table=True):
    """A spend to be told of, once in each month: `alerted_month` is the first day of the last one in which it
    was. `recipients` and `subject_prefix` are what whoever hears of it may write a mail with."""

    __tablename__ = "spend_alert"
    __table_args__ = (Index("ix_spend_alert_list", "organization_id", "created_at", "id"),)

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str = Field(default="", max_length=64)
    threshold_micros: int = big()
    recipients: list[str] = document(default_factory=list)
    subject_prefix: str | None = Field(default=None, max_length=128)
    created_at: datetime = moment(nullable=False)
    alerted_month: date | None = None
    alerted_at: datetime | None = moment()
