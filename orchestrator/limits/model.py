"""How much of the limits on rates is used: the one state that every API process reads and writes."""

from datetime import datetime

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
