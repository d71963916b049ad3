"""What an organization or a project may spend in a month, and the parts of it that live work holds.

Money is whole micro-dollars. `project_id` is "" where a row speaks for a whole organization.
"""

from datetime import date, datetime

from sqlmodel import Field, SQLModel

from orchestrator.database.columns import big, document, moment


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


class SpendLimit(SQLModel, table=True):
    """A monthly cap, None for none, and what to be told of before it. `alerts` are spends in micro-dollars;
    `alerted` those already told of, in the month whose first day is `alerted_month`."""

    __tablename__ = "spend_limit"

    organization_id: str = Field(primary_key=True, foreign_key="organization.id", max_length=64)
    project_id: str = Field(primary_key=True, default="", max_length=64)
    cap_micros: int | None = big(nullable=True, default=None)
    alerts: list[int] = document(default_factory=list)
    alerted: list[int] = document(default_factory=list)
    alerted_month: date | None = None
    updated_at: datetime = moment(nullable=False)
