"""OpenAI's File object."""

from typing import Any, Literal

from api.schemas.wire import Identified, Wire
from orchestrator import clock
from orchestrator.files.model import File, Purpose


class LineReport(Wire):
    """What was seen of a batch file's lines while they were uploaded."""

    lines: int
    bad_lines: int
    models: dict[str, int]
    endpoints: dict[str, int]
    first_problems: list[dict[str, Any]]


class FileObject(Identified):
    """A file. `validation` is this yard's addition, for batch files."""

    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"
    status_details: str | None = None
    validation: LineReport | None = None

    @classmethod
    def of(cls, file: File) -> "FileObject":
        """The file as its owner sees it."""
        return cls(
            id=file.id,
            bytes=file.bytes,
            created_at=clock.unix(file.created_at),
            expires_at=clock.unix_or_none(file.expires_at),
            filename=file.filename,
            purpose=file.purpose,
            validation=None if file.summary is None else LineReport.model_validate(file.summary),
        )
