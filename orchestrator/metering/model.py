"""The usage ledger: append-only, one row for each charge, in integers."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from orchestrator.database.columns import big, moment


class Usage(SQLModel, table=True):
    """What one finished batch or fine-tuning job used of one model. `idempotency_key` makes a second charge
    impossible. `trained_tokens` are those of a fine-tuning job, which has no lines."""

    __tablename__ = "usage"

    id: str = Field(primary_key=True, max_length=64)
    idempotency_key: str = Field(unique=True, max_length=256)
    organization_id: str = Field(foreign_key="organization.id", index=True, max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    resource_id: str = Field(index=True, max_length=64)
    model: str = Field(max_length=256)
    lines: int
    input_tokens: int = big()
    cached_tokens: int = big()
    output_tokens: int = big()
    trained_tokens: int = big(default=0)
    cost_micros: int = big()
    at: datetime = moment(nullable=False)
