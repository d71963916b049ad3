"""The form of `POST /files`: its fields in any order, its file streamed into the store as it
arrives.

The purpose may come after the file. Until it is known a `.jsonl` file is looked at as a batch file;
what was seen is dropped if it turns out to be none.
"""

from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from api.multipart import Part, parts
from orchestrator.batches.validation import FileValidator, LineLimits
from orchestrator.errors import Invalid
from orchestrator.files import service as files
from orchestrator.files.intake import SizeCheck, take_in
from orchestrator.files.model import Purpose
from orchestrator.storage.store import ObjectStore, Stored

FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")


@dataclass(frozen=True)
class ReceivedFile:
    """A file whose bytes are in the store, and what the form said about it."""

    filename: str
    purpose: Purpose
    stored: Stored
    summary: dict[str, Any] | None
    expires_after_seconds: int | None


async def receive(
    request: Request, store: ObjectStore, *, key: str, limits: LineLimits, check_size: SizeCheck
) -> ReceivedFile:
    """Read the form and store its file under `key`. Raises Invalid, or what `check_size` raises;
    the object may be there by then, and the caller removes it."""
    form = _Form()
    async for part in parts(request, check_size=check_size):
        if part.name == "file":
            await _take_file(form, part, store, key=key, limits=limits, check_size=check_size)
        elif part.name in FIELDS and part.filename is None:
            form.fields[part.name] = await part.text()
            form.purpose()  # an unknown one is refused before the file is read
        else:
            raise Invalid(f"Unknown parameter: '{part.name}'.", code="unknown_parameter", param=part.name)
    return _received(form)


@dataclass
class _Form:
    """What has been read of the form."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    stored: Stored | None = None
    validator: FileValidator | None = None

    def purpose(self) -> Purpose | None:
        named = self.fields.get("purpose")
        return None if named is None else files.uploadable(named)


async def _take_file(
    form: _Form, part: Part, store: ObjectStore, *, key: str, limits: LineLimits, check_size: SizeCheck
) -> None:
    if part.filename is None:
        raise Invalid("'file' must be sent as a file, with a filename.", param="file")
    if form.filename is not None:
        raise Invalid("The form has more than one 'file'.", param="file")
    form.filename = files.base_name(part.filename)
    purpose = form.purpose()
    if purpose is not None:
        files.check_name(form.filename, purpose)
    if purpose in (Purpose.BATCH, None) and files.is_lines(form.filename):
        form.validator = FileValidator(limits)
    form.stored = await take_in(
        store,
        key,
        part.chunks(),
        content_type=files.content_type(form.filename),
        check_size=check_size,
        inspectors=[form.validator] if form.validator else [],
    )


def _received(form: _Form) -> ReceivedFile:
    """The complete form, checked as a whole."""
    purpose = form.purpose()
    if purpose is None:
        raise _missing("purpose")
    if form.filename is None or form.stored is None:
        raise _missing("file")
    files.check_name(form.filename, purpose)
    if form.stored.size == 0:
        raise Invalid("The file is empty.", code="empty_file", param="file")
    looked_at = form.validator if purpose is Purpose.BATCH else None
    return ReceivedFile(
        filename=form.filename,
        purpose=purpose,
        stored=form.stored,
        summary=looked_at.finish().to_json() if looked_at else None,
        expires_after_seconds=_expires_after(form.fields),
    )


def _expires_after(fields: dict[str, str]) -> int | None:
    anchor = fields.get("expires_after[anchor]")
    seconds = fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise Invalid(
            f"Invalid value: '{anchor}'. Supported values are: 'created_at'.",
            param="expires_after.anchor",
        )
    low, high = files.EXPIRES_AFTER_SECONDS_MIN, files.EXPIRES_AFTER_SECONDS_MAX
    whole = seconds is not None and seconds.isascii() and seconds.isdigit() and len(seconds) < 10
    if seconds is None or not whole or not low <= int(seconds) <= high:
        raise Invalid(
            f"Invalid value: '{seconds}'. Expected a whole number of seconds from {low} to {high}.",
            param="expires_after.seconds",
        )
    return int(seconds)


def _missing(name: str) -> Invalid:
    return Invalid(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)
