"""What the yard asks of an object store. `local.py` and `s3.py` give it; one conformance suite tests both.

Objects are immutable: a key is written once and read or deleted afterwards. A put is atomic: a reader sees
the whole object or none. Exclusion is the database's business, never the store's.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


class ObjectMissing(Exception):
    """No object under this key."""


@dataclass(frozen=True)
class Stored:
    """What a put has written: `size` in bytes and our own SHA-256 (an ETag is not a checksum)."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Listed:
    """One object in a listing."""

    key: str
    size: int
    modified_at: datetime


class ObjectStore(Protocol):
    """Thread-safe and loop-safe: every blocking call runs in a thread."""

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "application/jsonl"
    ) -> Stored:
        """Store the chunks as one object. On any failure nothing is left under `key`."""
        ...

    async def put(self, key: str, data: bytes, *, content_type: str = "application/jsonl") -> Stored:
        """Store `data` as one object."""
        ...

    def get_stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The object's bytes from `start` to before `end`. Raises ObjectMissing at the first chunk."""
        ...

    async def get(self, key: str, *, size_max: int) -> bytes:
        """The whole object. Raises ObjectMissing, or ValueError if it has more than `size_max` bytes."""
        ...

    async def size(self, key: str) -> int | None:
        """The object's size in bytes, or None where there is none."""
        ...

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects. A key without an object is no error."""
        ...

    def list(self, prefix: str) -> AsyncIterator[Listed]:
        """Every object whose key begins with `prefix`, in key order, read page by page."""
        ...

    def local_copy(self, key: str, folder: Path) -> AbstractAsyncContextManager[Path]:
        """A readable file with the object's bytes: the object itself where it is a file on this machine,
        otherwise a copy in `folder` that is removed on leaving the block. Raises ObjectMissing."""
        ...

    async def presign_get(self, key: str, *, filename: str, seconds: int) -> str | None:
        """An address from which anyone may download the object for `seconds`, or None: stream it."""
        ...

    async def sweep(self, *, older_than: datetime) -> int:
        """Remove unfinished puts begun before `older_than` (temporary files, multipart uploads) and
        return how many there were."""
        ...
