"""A File: bytes in the object store that a customer uploaded or that a batch produced."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import big, choice, document, moment


class Purpose(StrEnum):
    """OpenAI's purposes that this yard has a use for, and those of what it makes."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"
    FINE_TUNE = "fine-tune"
    FINE_TUNE_RESULTS = "fine-tune-results"
    FINE_TUNING = "fine_tuning"  # Groq's word: an adapter as a ZIP
    USER_DATA = "user_data"


UPLOADABLE = (Purpose.BATCH, Purpose.FINE_TUNE, Purpose.FINE_TUNING, Purpose.USER_DATA)


class File(SQLModel, table=True):
    """`key` is where the bytes are. `summary` is what validation saw while they streamed in
    (`orchestrator.batches.validation.Summary`), for batch files only. A deleted file keeps its row,
    so that batches which name it can say so; its bytes are gone."""

    __tablename__ = "file"
    __table_args__ = (Index("ix_file_list", "organization_id", "created_at", "id"),)

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    filename: str = Field(max_length=512)
    purpose: Purpose = choice(Purpose)
    bytes: int = big()
    sha256: str = Field(max_length=64)
    key: str = Field(max_length=256)
    summary: dict[str, Any] | None = document(default=None)
    created_at: datetime = moment(nullable=False)
    expires_at: datetime | None = moment()
    deleted_at: datetime | None = moment()
