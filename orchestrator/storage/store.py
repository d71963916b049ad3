"""What the yard asks of an object store. `local.py` and `s3.py` give it; one suite tests both.

Objects are immutable: a key is written once and read or deleted afterwards. A put is atomic: a
reader sees the whole object or none. Exclusion is the database's business, never the store's.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from orchestrator.errors import Unavailable


class ObjectMissing(Exception):
    """No object under this key."""


class StoreUnavailable(Unavailable):
    """The store could not be reached, or would not do it; its client has already tried again."""

    code = "store_unavailable"


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
    """Thread-safe and loop-safe: every blocking call runs in a thread. Every method raises
    ValueError for a key that `keys.check_key` refuses, and may raise StoreUnavailable."""

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "application/jsonl"
    ) -> Stored:
        """Store the chunks as one object. If this raises, or is cancelled, a reader still finds the
        whole object or none, and nothing half-made is kept."""
        ...

    async def put(self, key: str, data: bytes, *, content_type: str = "application/jsonl") -> Stored:
        """Store `data` as one object."""
        ...

    def get_stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The object's bytes from `start` to before `end`, as far as it has them: none where
        `start` is at its end or beyond. Raises ObjectMissing at the first chunk."""
        ...

    async def get(self, key: str, *, size_max: int) -> bytes:
        """The whole object. Raises ObjectMissing, or ValueError if it exceeds `size_max` bytes."""
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
        """A readable file with the object's bytes: the object itself where it is a file here,
        otherwise a copy in `folder`, removed on leaving the block. Raises ObjectMissing."""
        ...

    async def presign_get(self, key: str, *, filename: str, seconds: int) -> str | None:
        """An address from which anyone may download the object for `seconds`, saved as `filename`,
        or None: stream it. Whether there is such an object is not asked."""
        ...

    async def sweep(self, *, older_than: datetime) -> int:
        """Remove what puts that died have left (temporary files, multipart uploads) and return how
        many there were. Those begun since `older_than` are spared: they may still be under way."""
        ...
