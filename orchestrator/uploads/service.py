"""What a customer does with uploads: announce, send parts, complete or cancel.

A pending upload past its hour is expired, whether or not the sweeper has said so yet.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, func, select

from orchestrator import clock, ids
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.files import service as files
from orchestrator.files.model import File, Purpose
from orchestrator.organizations.principal import Principal
from orchestrator.state_machine import transition
from orchestrator.storage import keys
from orchestrator.storage.store import Stored
from orchestrator.uploads.model import UPLOAD, Upload, UploadPart, UploadStatus, UploadTrigger

UPLOAD_SECONDS = 3600
PART_BYTES_MAX = 64 * 1024 * 1024
PARTS_MAX = 10_000  # of one upload; the rows and keys that completing it reads


def create(
    tx: Session,
    principal: Principal,
    *,
    filename: str,
    purpose: Purpose,
    mime_type: str,
    size_bytes: int,
    file_expires_after_seconds: int | None,
) -> Upload:
    """Announce a file of `size_bytes` bytes that will come in parts within the hour."""
    now = clock.now()
    upload = Upload(
        id=ids.new("upload_"),
        organization_id=principal.organization_id,
        project_id=principal.project_id,
        filename=files.base_name(filename),
        purpose=purpose,
        mime_type=mime_type,
        bytes=size_bytes,
        file_expires_after_seconds=file_expires_after_seconds,
        created_at=now,
        expires_at=now + timedelta(seconds=UPLOAD_SECONDS),
    )
    tx.add(upload)
    tx.flush()
    return upload


def get(tx: Session, *, organization_id: str, upload_id: str, lock: bool = False) -> Upload:
    """The upload, with its row locked for the rest of the transaction if asked. Raises NotFound."""
    upload = tx.get(Upload, upload_id, with_for_update=lock)
    if upload is None or upload.organization_id != organization_id:
        raise NotFound(f"No such Upload object: {upload_id}", param="id")
    return upload


def require_pending(upload: Upload) -> None:
    """Raise Conflict unless the upload still takes parts."""
    status = upload.status
    if status is UploadStatus.PENDING and upload.expires_at <= clock.now():
        status = UploadStatus.EXPIRED
    if status is not UploadStatus.PENDING:
        raise Conflict(f"Upload {upload.id} has status '{status}'; only a pending one can be changed.")


def add_part(
    tx: Session, *, organization_id: str, upload_id: str, part_id: str, stored: Stored
) -> UploadPart:
    """Make the row of a part whose bytes are stored. Raises Conflict if the upload is over, and
    Invalid if its parts now have more bytes than were announced."""
    upload = get(tx, organization_id=organization_id, upload_id=upload_id, lock=True)
    require_pending(upload)
    sums = select(func.count(), func.coalesce(func.sum(UploadPart.bytes), 0))
    count, received = tx.exec(sums.where(UploadPart.upload_id == upload_id)).one()
    if count >= PARTS_MAX:
        raise Invalid(f"Upload {upload_id} has {PARTS_MAX:,} parts already, the most there can be.")
    if received + stored.size > upload.bytes:
        raise Invalid(
            f"Upload {upload_id} was announced with {upload.bytes:,} bytes; with this part of "
            f"{stored.size:,} bytes it would have {received + stored.size:,}.",
            param="data",
        )
    part = UploadPart(
        id=part_id,
        upload_id=upload_id,
        bytes=stored.size,
        key=keys.upload_part(organization_id, upload_id, part_id),
        created_at=clock.now(),
    )
    tx.add(part)
    tx.flush()
    return part


def parts_in_order(tx: Session, upload: Upload, part_ids: Sequence[str]) -> list[UploadPart]:
    """The named parts, in that order. Raises Invalid for one that is unknown or named twice, and
    where together they are not the announced size."""
    rows = tx.exec(select(UploadPart).where(col(UploadPart.upload_id) == upload.id))
    known = {part.id: part for part in rows}
    unknown = [part_id for part_id in part_ids if part_id not in known]
    if unknown:
        raise Invalid(f"Upload {upload.id} has no part '{unknown[0]}'.", param="part_ids")
    if len(set(part_ids)) < len(part_ids):
        raise Invalid("A part is named more than once in part_ids.", param="part_ids")
    parts = [known[part_id] for part_id in part_ids]
    size = sum(part.bytes for part in parts)
    if size != upload.bytes:
        raise Invalid(
            f"Upload {upload.id} was announced with {upload.bytes:,} bytes; the parts named in "
            f"part_ids have {size:,}.",
            param="part_ids",
        )
    return parts


def complete(
    tx: Session,
    principal: Principal,
    *,
    upload_id: str,
    file_id: str,
    stored: Stored,
    summary: dict[str, Any] | None,
    retention_days: int,
) -> tuple[Upload, File]:
    """Make the File whose bytes were joined from the parts. Raises Conflict if the upload ended
    meanwhile."""
    upload = get(tx, organization_id=principal.organization_id, upload_id=upload_id, lock=True)
    require_pending(upload)
    file = files.add(
        tx,
        principal,
        file_id=file_id,
        filename=upload.filename,
        purpose=upload.purpose,
        stored=stored,
        summary=summary,
        expires_after_seconds=upload.file_expires_after_seconds,
        retention_days=retention_days,
    )
    upload.file_id = file.id
    transition(tx, upload, UPLOAD, UploadTrigger.COMPLETED, actor=principal.key_id)
    return upload, file


def cancel(tx: Session, principal: Principal, *, upload_id: str) -> Upload:
    """Give the upload up; its parts are removed after the commit. Cancelling twice is no error."""
    upload = get(tx, organization_id=principal.organization_id, upload_id=upload_id, lock=True)
    if upload.status is not UploadStatus.CANCELLED:
        require_pending(upload)
        transition(tx, upload, UPLOAD, UploadTrigger.CANCELLED, actor=principal.key_id)
    return upload


def part_keys(tx: Session, upload_id: str) -> list[str]:
    """Where the bytes of the upload's parts are."""
    return list(tx.exec(select(UploadPart.key).where(col(UploadPart.upload_id) == upload_id)))
