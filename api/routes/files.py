"""Files: upload, look, list, download, delete."""

import asyncio
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from api import base64_stream, file_form
from api.auth import Caller
from api.byte_range import byte_range
from api.deps import Read, YardDep
from api.pagination import FilesPage
from api.schemas.files import FileObject
from api.schemas.wire import Deleted, ListOf
from api.yard import Yard
from orchestrator import ids
from orchestrator.batches import service as batches
from orchestrator.batches.preparation_spec import line_limits
from orchestrator.entitlements import checks
from orchestrator.errors import Invalid
from orchestrator.files import service as files
from orchestrator.files.intake import removed_on_failure
from orchestrator.files.model import UPLOADABLE, File, Purpose
from orchestrator.fine_tuning import service as fine_tuning
from orchestrator.organizations.principal import Principal
from orchestrator.storage import keys

PRESIGNED_SECONDS = 3600

router = APIRouter(tags=["Files"])

# The body is read as a stream, so FastAPI cannot see its shape.
UPLOAD_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": [purpose.value for purpose in UPLOADABLE]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer"},
                    },
                }
            }
        },
    }
}


@router.post("/files", openapi_extra=UPLOAD_FORM)
async def create_file(request: Request, yard: YardDep, caller: Caller) -> FileObject:
    """Upload a file. A batch file is checked line by line while it arrives: `validation` in the
    answer says what was found, and nothing is refused for a bad line yet."""
    tier = yard.tier(caller)
    file_id = ids.new("file-")
    key = keys.file_content(caller.organization_id, file_id)

    def check_size(size_bytes: int) -> None:
        checks.require(checks.file_size(yard.tiers, tier, size_bytes))

    async with removed_on_failure(yard.store, key):
        received = await file_form.receive(
            request, yard.store, key=key, limits=line_limits(yard.tiers, tier), check_size=check_size
        )

        def save() -> File:
            with yard.database.transaction() as tx:
                return files.add(
                    tx,
                    caller,
                    file_id=file_id,
                    filename=received.filename,
                    purpose=received.purpose,
                    stored=received.stored,
                    summary=received.summary,
                    expires_after_seconds=received.expires_after_seconds,
                    retention_days=tier.retention_days,
                )

        return FileObject.of(await asyncio.to_thread(save))


@router.get("/files")
def list_files(
    tx: Read,
    caller: Caller,
    page: FilesPage,
    purpose: Annotated[Purpose | None, Query(description="Only files of this purpose.")] = None,
) -> ListOf[FileObject]:
    """The organization's files, newest first."""
    found = files.list_page(tx, page, organization_id=caller.organization_id, purpose=purpose)
    return ListOf.of([FileObject.of(file) for file in found.rows], has_more=found.has_more)


@router.get("/files/{file_id}")
def retrieve_file(file_id: str, tx: Read, caller: Caller) -> FileObject:
    """One file."""
    return FileObject.of(files.get(tx, organization_id=caller.organization_id, file_id=file_id))


@router.delete("/files/{file_id}")
async def delete_file(file_id: str, yard: YardDep, caller: Caller) -> Deleted:
    """Delete a file and its bytes. What a batch or a fine-tuning job that has not ended reads cannot be
    deleted."""

    def mark() -> File:
        with yard.database.transaction() as tx:
            file = files.get(tx, organization_id=caller.organization_id, file_id=file_id, lock=True)
            batches.require_no_reader(tx, file)
            fine_tuning.require_no_reader(tx, file)
            files.mark_deleted(tx, file)
            return file

    file = await asyncio.to_thread(mark)
    await yard.store.delete([file.key])
    return Deleted(id=file.id, object="file")


@router.get("/files/{file_id}/content", response_class=Response)
async def file_content(
    file_id: str,
    request: Request,
    yard: YardDep,
    caller: Caller,
    encoding: Annotated[
        Literal["base64"] | None,
        Query(description="For the result file of a fine-tuning job, which OpenAI sends like that."),
    ] = None,
) -> Response:
    """The file's bytes; a `Range` of them if asked. May answer with a redirect to the store."""
    file = await asyncio.to_thread(load_file, yard, caller, file_id)
    if encoding is not None:
        return _in_base64(yard, file)
    address = await yard.store.presign_get(file.key, filename=file.filename, seconds=PRESIGNED_SECONDS)
    if address is not None:
        return RedirectResponse(address, 302)
    wanted = byte_range(request.headers.get("range"), size=file.bytes)
    chunks = yard.store.get_stream(file.key, start=wanted.start, end=wanted.end)
    headers = {
        "content-length": str(wanted.end - wanted.start),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename)}",
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
    }
    if wanted.partial:
        headers["content-range"] = f"bytes {wanted.start}-{wanted.end - 1}/{file.bytes}"
    return StreamingResponse(
        chunks,
        status_code=206 if wanted.partial else 200,
        headers=headers,
        media_type=files.content_type(file.filename),
    )


def _in_base64(yard: Yard, file: File) -> Response:
    if file.purpose is not Purpose.FINE_TUNE_RESULTS:
        raise Invalid(
            f"File {file.id} has purpose '{file.purpose}'; only those with purpose "
            f"'{Purpose.FINE_TUNE_RESULTS}' come in base64. Leave 'encoding' out.",
            param="encoding",
        )
    return StreamingResponse(
        base64_stream.encode(yard.store.get_stream(file.key)),
        headers={"content-length": str(base64_stream.length(file.bytes))},
        media_type="text/plain",
    )


def load_file(yard: Yard, caller: Principal, file_id: str) -> File:
    """The caller's file, in a short session of its own."""
    with yard.database.read() as tx:
        return files.get(tx, organization_id=caller.organization_id, file_id=file_id)
