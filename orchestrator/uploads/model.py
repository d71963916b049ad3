"""An Upload: a File that arrives in parts, several at a time, and becomes one when it is
completed."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import big, choice, moment
from orchestrator.files.model import Purpose
from orchestrator.state_machine import StateMachine


class UploadStatus(StrEnum):
    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class UploadTrigger(StrEnum):
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


UPLOAD: StateMachine[UploadStatus, UploadTrigger] = StateMachine(
    name="upload",
    initial=UploadStatus.PENDING,
    edges={
        (UploadStatus.PENDING, UploadTrigger.COMPLETED): UploadStatus.COMPLETED,
        (UploadStatus.PENDING, UploadTrigger.CANCELLED): UploadStatus.CANCELLED,
        (UploadStatus.PENDING, UploadTrigger.EXPIRED): UploadStatus.EXPIRED,
    },
)


class Upload(SQLModel, table=True):
    """`bytes` is what the customer announced; `file_expires_after_seconds` goes to the File it
    becomes."""

    __tablename__ = "upload"
    __table_args__ = (Index("ix_upload_expiry", "status", "expires_at"),)

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    filename: str = Field(max_length=512)
    purpose: Purpose = choice(Purpose)
    mime_type: str = Field(max_length=128)
    bytes: int = big()
    status: UploadStatus = choice(UploadStatus, default=UploadStatus.PENDING)
    file_id: str | None = Field(default=None, max_length=64)
    file_expires_after_seconds: int | None = None
    created_at: datetime = moment(nullable=False)
    expires_at: datetime = moment(nullable=False)
    completed_at: datetime | None = moment()
    cancelled_at: datetime | None = moment()
    expired_at: datetime | None = moment()


class UploadPart(SQLModel, table=True):
    """One stored part. The order of parts is given when the upload is completed."""

    __tablename__ = "upload_part"

    id: str = Field(primary_key=True, max_length=64)
    upload_id: str = Field(foreign_key="upload.id", index=True, max_length=64)
    bytes: int = big()
    key: str = Field(max_length=256)
    created_at: datetime = moment(nullable=False)
