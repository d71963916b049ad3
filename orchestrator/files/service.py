"""What a customer does with files. The bytes are `intake.py`'s business; here are the rows.

A file that is deleted, expired or somebody else's is not there: all three are the same NotFound.
"""

import re
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_
from sqlmodel import Session, col

from orchestrator import clock
from orchestrator.database import pages
from orchestrator.errors import Invalid, NotFound
from orchestrator.files.model import UPLOADABLE, File, Purpose
from orchestrator.organizations.principal import Principal
from orchestrator.storage import keys
from orchestrator.storage.store import Stored

# OpenAI's bounds on `expires_after.seconds`.
EXPIRES_AFTER_SECONDS_MIN = 3600
EXPIRES_AFTER_SECONDS_MAX = 30 * 24 * 3600

SECONDS_A_DAY = 24 * 3600
FILENAME_LENGTH_MAX = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def add(
    tx: Session,
    principal: Principal,
    *,
    file_id: str,
    filename: str,
    purpose: Purpose,
    stored: Stored,
    summary: dict[str, Any] | None,
    expires_after_seconds: int | None,
    retention_days: int,
) -> File:
    """Make the row of a file whose bytes are stored, and return it. A batch file that names no
    expiry is kept for `retention_days`; other files then stay until they are deleted."""
    now = clock.now()
    if expires_after_seconds is None and purpose in (Purpose.BATCH, Purpose.BATCH_OUTPUT):
        expires_after_seconds = retention_days * SECONDS_A_DAY
    file = File(
        id=file_id,
        organization_id=principal.organization_id,
        project_id=principal.project_id,
        filename=base_name(filename),
        purpose=purpose,
        bytes=stored.size,
        sha256=stored.sha256,
        key=keys.file_content(principal.organization_id, file_id),
        summary=summary,
        created_at=now,
        expires_at=expiry(now, expires_after_seconds),
    )
    tx.add(file)
    tx.flush()
    return file


def get(tx: Session, *, organization_id: str, file_id: str, lock: bool = False) -> File:
    """The file, with its row locked for the rest of the transaction if asked. Raises NotFound."""
    file = tx.get(File, file_id, with_for_update=lock)
    if file is None or file.organization_id != organization_id or not is_there(file):
        raise NotFound(f"No such File object: {file_id}", param="id")
    return file


def list_page(
    tx: Session, request: pages.PageRequest, *, organization_id: str, purpose: Purpose | None
) -> pages.Page[File]:
    """One page of the organization's files. Raises Invalid for an unknown cursor."""
    where = [
        col(File.deleted_at).is_(None),
        or_(col(File.expires_at).is_(None), col(File.expires_at) > clock.now()),
    ]
    if purpose is not None:
        where.append(col(File.purpose) == purpose)
    return pages.fetch(tx, File, request, organization_id=organization_id, where=where)


def mark_deleted(tx: Session, file: File) -> None:
    """Say that the file is gone. Its bytes are removed after the commit, never before: a row
    without bytes would be a file that cannot be read, bytes without a row are only swept."""
    file.deleted_at = clock.now()
    tx.add(file)
    tx.flush()


def is_there(file: File) -> bool:
    """Whether the file has neither been deleted nor expired."""
    expired = file.expires_at is not None and file.expires_at <= clock.now()
    return file.deleted_at is None and not expired


def expiry(created_at: datetime, seconds: int | None) -> datetime | None:
    """When something made at `created_at` expires; None means never."""
    return None if seconds is None else created_at + timedelta(seconds=seconds)


def uploadable(purpose: str) -> Purpose:
    """The purpose that a customer names. Raises Invalid for one that only the yard gives, or
    none."""
    if purpose in UPLOADABLE:
        return Purpose(purpose)
    raise Invalid(
        f"Invalid value: '{purpose}'. Supported values are: "
        + ", ".join(f"'{known}'" for known in UPLOADABLE)
        + ".",
        param="purpose",
    )


def base_name(filename: str) -> str:
    """What is kept of a name that a client sent: no folders, no control or direction characters. It
    is for people to read and never part of a key."""
    name = re.split(r"[/\\]", filename)[-1]
    name = _CONTROL.sub("", name).strip()
    if name.strip(".") == "":
        return "upload"
    stem, dot, extension = name.rpartition(".")
    if len(name) > FILENAME_LENGTH_MAX and dot and len(extension) < FILENAME_LENGTH_MAX:
        return stem[: FILENAME_LENGTH_MAX - len(extension) - 1] + dot + extension
    return name[:FILENAME_LENGTH_MAX]


def check_name(filename: str, purpose: Purpose) -> None:
    """Raise Invalid where a batch file is not called `….jsonl`, or an adapter `….zip`."""
    if purpose is Purpose.FINE_TUNING and not filename.lower().endswith(".zip"):
        raise Invalid(
            "Invalid file format for an adapter. Must be a .zip of adapter_model.safetensors and "
            "adapter_config.json",
            code="invalid_file_format",
            param="file",
        )
    if purpose is Purpose.BATCH and not is_lines(filename):
        raise Invalid("Invalid file format for Batch API. Must be .jsonl", code="invalid_file_format")


def is_lines(filename: str) -> bool:
    """Whether the name says that the file has one JSON document a line."""
    return filename.lower().endswith(".jsonl")


def content_type(filename: str) -> str:
    """What the bytes are announced as. Never a type that a browser would run."""
    return "application/jsonl" if is_lines(filename) else "application/octet-stream"
