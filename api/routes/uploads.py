"""Uploads: a large file in parts, several at a time."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, Request

from api.auth import Caller
from api.deps import Transaction, YardDep
from api.multipart import parts
from api.schemas.uploads import CompleteUpload, CreateUpload, PartObject, UploadObject
from api.schemas.wire import seconds_of
from api.yard import Yard
from orchestrator import ids
from orchestrator.batches.preparation_spec import line_limits
from orchestrator.batches.validation import FileValidator
from orchestrator.entitlements import checks, offers
from orchestrator.errors import Conflict, Invalid, TooLarge
from orchestrator.files import service as files
from orchestrator.files.intake import removed_on_failure, take_in
from orchestrator.files.model import File, Purpose
from orchestrator.limits import at_once
from orchestrator.organizations.principal import Principal
from orchestrator.storage import keys
from orchestrator.storage.store import ObjectMissing, ObjectStore, Stored
from orchestrator.uploads import service as uploads
from orchestrator.uploads.model import Upload, UploadPart

PART_SECONDS_MAX = 3_600.0  # an upload waits no longer for its parts

router = APIRouter(tags=["Uploads"])

PART_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {"data": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


@router.post("/uploads")
def create_upload(body: CreateUpload, tx: Transaction, yard: YardDep, caller: Caller) -> UploadObject:
    """Announce a file that will come in parts within the hour."""
    purpose = files.uploadable(body.purpose)
    files.check_name(files.base_name(body.filename), purpose)
    checks.require(checks.upload_size(yard.tiers, yard.tier(caller), body.bytes))
    upload = uploads.create(
        tx,
        caller,
        filename=body.filename,
        purpose=purpose,
        mime_type=body.mime_type,
        size_bytes=body.bytes,
        file_expires_after_seconds=seconds_of(body.expires_after),
    )
    return UploadObject.of(upload)


@router.post("/uploads/{upload_id}/parts", openapi_extra=PART_FORM)
async def add_upload_part(upload_id: str, request: Request, yard: YardDep, caller: Caller) -> PartObject:
    """Send one part of at most 64 MB. Parts may be sent in any order; completing the upload orders
    them."""
    part_id = ids.new("part_")
    async with _under_way(yard, caller, upload_id, part_id) as upload:
        key = keys.upload_part(caller.organization_id, upload.id, part_id)
        async with removed_on_failure(yard.store, key):
            stored = await _receive_part(request, yard.store, key)

            def save() -> UploadPart:
                with yard.database.transaction() as tx:
                    return uploads.add_part(
                        tx,
                        organization_id=caller.organization_id,
                        upload_id=upload_id,
                        part_id=part_id,
                        stored=stored,
                    )

            return PartObject.of(await asyncio.to_thread(save))


@router.post("/uploads/{upload_id}/complete")
async def complete_upload(
    upload_id: str, body: CompleteUpload, yard: YardDep, caller: Caller
) -> UploadObject:
    """Join the parts, in the order given, into a file. A batch file is checked meanwhile."""
    tier = yard.tier(caller)
    upload, ordered = await asyncio.to_thread(_ordered, yard, caller, upload_id, body.part_ids)
    file_id = ids.new("file-")
    key = keys.file_content(caller.organization_id, file_id)
    validator = FileValidator(line_limits(yard.tiers, tier)) if upload.purpose is Purpose.BATCH else None
    digest = _Md5()
    async with removed_on_failure(yard.store, key):
        stored = await take_in(
            yard.store,
            key,
            _joined(yard.store, ordered),
            content_type=files.content_type(upload.filename),
            check_size=lambda _: None,  # the parts' sum was checked
            inspectors=[digest, validator] if validator else [digest],
        )
        digest.require(body.md5)

        def save() -> tuple[Upload, File]:
            with yard.database.transaction() as tx:
                return uploads.complete(
                    tx,
                    caller,
                    upload_id=upload_id,
                    file_id=file_id,
                    stored=stored,
                    summary=validator.finish().to_json() if validator else None,
                    retention_days=tier.retention_days,
                )

        completed, file = await asyncio.to_thread(save)
    await _remove_parts(yard, upload_id)
    return UploadObject.of(completed, file)


@router.post("/uploads/{upload_id}/cancel")
async def cancel_upload(upload_id: str, yard: YardDep, caller: Caller) -> UploadObject:
    """Give an upload up. Its parts are removed."""

    def cancel() -> Upload:
        with yard.database.transaction() as tx:
            return uploads.cancel(tx, caller, upload_id=upload_id)

    upload = await asyncio.to_thread(cancel)
    await _remove_parts(yard, upload_id)
    return UploadObject.of(upload)


class _Md5:
    """The digest that the client may compare with its own. An Inspector."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)

    def feed(self, chunk: bytes) -> None:
        self._md5.update(chunk)

    def require(self, expected: str | None) -> None:
        """Raise Invalid where the client expected other bytes."""
        found = self._md5.hexdigest()
        if expected is not None and expected.lower() != found:
            raise Invalid(
                f"The joined parts have the MD5 {found}, not {expected.lower()}: a part is "
                "missing, damaged or out of order.",
                param="md5",
            )


async def _receive_part(request: Request, store: ObjectStore, key: str) -> Stored:
    """The form's one file, `data`, stored under `key`."""
    stored: Stored | None = None
    async for part in parts(request, check_size=_check_part_size):
        if part.name != "data" or stored is not None:
            raise Invalid("The form must have one part called 'data'.", param=part.name)
        stored = await take_in(
            store,
            key,
            part.chunks(),
            content_type="application/octet-stream",
            check_size=_check_part_size,
        )
    if stored is None or stored.size == 0:
        raise Invalid("Missing required parameter: 'data'.", param="data")
    return stored


def _check_part_size(size_bytes: int) -> None:
    if size_bytes > uploads.PART_BYTES_MAX:
        raise TooLarge(
            f"A part may have up to {uploads.PART_BYTES_MAX:,} bytes; this one has more. Send the "
            "file in smaller parts.",
            param="data",
        )


async def _joined(store: ObjectStore, ordered: Sequence[UploadPart]) -> AsyncIterator[bytes]:
    try:
        for part in ordered:
            async for chunk in store.get_stream(part.key):
                yield chunk
    except ObjectMissing:
        raise Conflict("The upload was completed or cancelled by another request.") from None


@asynccontextmanager
async def _under_way(yard: Yard, caller: Principal, upload_id: str, part_id: str) -> AsyncIterator[Upload]:
    """The upload, while one more of its organization's parts is received. Raises NotFound, Conflict where it
    has ended, QuotaExceeded."""
    tier = yard.contracted(caller)

    def begin() -> Upload:
        with yard.database.transaction() as tx:
            upload = uploads.get(tx, organization_id=caller.organization_id, upload_id=upload_id)
            uploads.require_pending(upload)
            at_once.begin(
                tx,
                part_id,
                organization_id=caller.organization_id,
                project_id=caller.project_id,
                limit="upload_parts_parallel",
                allowed=tier.upload_parts_parallel,
                seconds=PART_SECONDS_MAX,
                more=offers.more(yard.tiers, tier, "upload_parts_parallel"),
            )
            return upload

    def end() -> None:
        with yard.database.transaction() as tx:
            at_once.end(tx, part_id)

    try:
        yield await asyncio.to_thread(begin)
    finally:
        await asyncio.shield(asyncio.to_thread(end))


def _ordered(
    yard: Yard, caller: Principal, upload_id: str, part_ids: Sequence[str]
) -> tuple[Upload, list[UploadPart]]:
    with yard.database.read() as tx:
        upload = uploads.get(tx, organization_id=caller.organization_id, upload_id=upload_id)
        uploads.require_pending(upload)
        return upload, uploads.parts_in_order(tx, upload, part_ids)


async def _remove_parts(yard: Yard, upload_id: str) -> None:
    """Remove the parts of an upload that has ended."""

    def part_keys() -> list[str]:
        with yard.database.read() as tx:
            return uploads.part_keys(tx, upload_id)

    await yard.store.delete(await asyncio.to_thread(part_keys))
