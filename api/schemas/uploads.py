"""OpenAI's Upload and UploadPart objects."""

from typing import Literal

from pydantic import Field

from api.schemas.files import FileObject
from api.schemas.wire import ExpiresAfter, Identified, RequestBody, Text
from orchestrator import clock
from orchestrator.files.model import File, Purpose
from orchestrator.uploads import service as uploads
from orchestrator.uploads.model import Upload, UploadPart, UploadStatus


class CreateUpload(RequestBody):
    """The body of `POST /uploads`."""

    bytes: int = Field(gt=0, description="The size of the whole file.")
    filename: Text = Field(min_length=1, examples=["big.jsonl"])
    mime_type: Text = Field(min_length=1, max_length=128, examples=["application/jsonl"])
    purpose: Text = Field(examples=["batch"])
    expires_after: ExpiresAfter | None = None


class CompleteUpload(RequestBody):
    """The body of `POST /uploads/{id}/complete`."""

    part_ids: list[Text] = Field(min_length=1, max_length=uploads.PARTS_MAX)
    md5: Text | None = Field(default=None, pattern="^[0-9a-fA-F]{32}$")


class UploadObject(Identified):
    """An upload; `file` is there once it is completed."""

    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Purpose
    status: UploadStatus
    file: FileObject | None

    @classmethod
    def of(cls, upload: Upload, file: File | None = None) -> "UploadObject":
        """The upload as its owner sees it."""
        return cls(
            id=upload.id,
            bytes=upload.bytes,
            created_at=clock.unix(upload.created_at),
            expires_at=clock.unix(upload.expires_at),
            filename=upload.filename,
            purpose=upload.purpose,
            status=upload.status,
            file=None if file is None else FileObject.of(file),
        )


class PartObject(Identified):
    """One part of an upload."""

    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str

    @classmethod
    def of(cls, part: UploadPart) -> "PartObject":
        """The part as its owner sees it."""
        return cls(id=part.id, created_at=clock.unix(part.created_at), upload_id=part.upload_id)
