"""Objects as files: the key is the path, so a person can look into the store with `ls`.

root/org_…/files/file-…/content     an object
root/.unfinished/…                  a put under way; no key can name it
"""

import hashlib
import itertools
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TypeVar, TypeVarTuple

from orchestrator.storage.keys import check_key, check_prefix
from orchestrator.storage.store import Listed, ObjectMissing, Stored, StoreUnavailable
from orchestrator.storage.threads import in_thread

BLOCK_BYTES = 1 << 20  # what one trip to a thread reads or writes
PAGE_OBJECTS = 1000  # what one trip to a thread lists or deletes
PUBLISH_TRIES = 10  # how often a put makes its folder again when deletes keep removing it

_NO_OBJECT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class LocalStore:
    """An ObjectStore in the folder `root`, which is made if it is missing."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._unfinished = self.root / ".unfinished"
        self._unfinished.mkdir(parents=True, exist_ok=True)

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        content_type: str = "application/jsonl",  # noqa: ARG002 - a file has none
    ) -> Stored:
        path = self._path(key)
        draft = _Draft(self._unfinished)
        try:
            waiting: list[bytes] = []
            waiting_bytes = 0
            async for chunk in chunks:
                waiting.append(chunk)
                waiting_bytes += len(chunk)
                if waiting_bytes >= BLOCK_BYTES:
                    await _disk(draft.write, waiting)
                    waiting, waiting_bytes = [], 0
            await _disk(draft.write, waiting)
            return await _disk(draft.publish, path, self.root)
        except BaseException:
            await _disk(draft.discard)
            raise

    async def put(self, key: str, data: bytes, *, content_type: str = "application/jsonl") -> Stored:
        async def chunks() -> AsyncIterator[bytes]:
            yield data

        return await self.put_stream(key, chunks(), content_type=content_type)

    async def get_stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if start < 0:
            raise ValueError(f"expected a start of 0 or more, found {start}")
        file = await _disk(self._open, key)
        try:
            await _disk(file.seek, start)
            while block := await _disk(file.read, _next_read(start, end)):
                start += len(block)
                yield block
        finally:
            file.close()

    async def get(self, key: str, *, size_max: int) -> bytes:
        return await _disk(self._read, key, size_max)

    async def size(self, key: str) -> int | None:
        return await _disk(self._size, key)

    async def delete(self, keys: Iterable[str]) -> None:
        paths = iter([self._path(key) for key in keys])
        while page := list(itertools.islice(paths, PAGE_OBJECTS)):
            await _disk(self._remove, page)

    async def list(self, prefix: str) -> AsyncIterator[Listed]:
        folder, slash, name = check_prefix(prefix).rpartition("/")
        objects = _objects(self.root / folder, folder + slash, name)
        while page := await _disk(lambda: list(itertools.islice(objects, PAGE_OBJECTS))):
            for listed in page:
                yield listed

    @asynccontextmanager
    async def local_copy(
        self,
        key: str,
        folder: Path,  # noqa: ARG002 - the object is a file already
    ) -> AsyncIterator[Path]:
        if await self.size(key) is None:
            raise ObjectMissing(key)
        yield self._path(key)

    async def presign_get(
        self,
        key: str,
        *,
        filename: str,  # noqa: ARG002
        seconds: int,  # noqa: ARG002
    ) -> str | None:
        check_key(key)
        return None  # nobody but us serves these files

    async def sweep(self, *, older_than: datetime) -> int:
        return await _disk(self._sweep, older_than)

    # Everything below blocks and runs in a thread.

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _open(self, key: str) -> IO[bytes]:
        try:
            return self._path(key).open("rb", buffering=0)
        except _NO_OBJECT:
            raise ObjectMissing(key) from None

    def _read(self, key: str, size_max: int) -> bytes:
        with self._open(key) as file:
            size = os.fstat(file.fileno()).st_size
            if size > size_max:
                raise ValueError(f"expected at most {size_max} bytes under {key}, found {size}")
            return file.read()

    def _size(self, key: str) -> int | None:
        try:
            status = self._path(key).stat()
        except _NO_OBJECT:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def _remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            try:
                path.unlink()
            except _NO_OBJECT:
                continue
            for folder in _folders(path, self.root)[:-1]:
                try:
                    folder.rmdir()
                except OSError:
                    break  # other objects are in it

    def _sweep(self, older_than: datetime) -> int:
        swept = 0
        for path in self._unfinished.iterdir():
            try:
                if path.stat().st_mtime < older_than.timestamp():
                    path.unlink()
                    swept += 1
            except FileNotFoundError:
                pass  # its put has just ended
        return swept


class _Draft:
    """A put under way: a temporary file that becomes the object, or vanishes. Its methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()

    def write(self, chunks: Iterable[bytes]) -> None:
        if self._file is None:
            self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - publish or discard closes it
                dir=self._folder, prefix="", delete=False
            )
        for chunk in chunks:
            self._file.write(chunk)
            self._digest.update(chunk)

    def publish(self, path: Path, root: Path) -> Stored:
        """Make it the object at `path`, durably: first the bytes, then the name."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._file.close()
        for tries_left in reversed(range(PUBLISH_TRIES)):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(self._file.name, path)
                break
            except (FileNotFoundError, FileExistsError):
                # A delete removed the folder, then empty: before the move, or under mkdir's eyes.
                if not tries_left:
                    raise
        self._file = None
        for folder in _folders(path, root):
            _sync(folder)
        return Stored(size=size, sha256=self._digest.hexdigest())

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
            Path(self._file.name).unlink(missing_ok=True)


async def _disk(function: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
    try:
        return await in_thread(function, *args)
    except OSError as error:
        raise StoreUnavailable(
            f"The object store's disk failed: {error.strerror or type(error).__name__}."
        ) from error


def _next_read(position: int, end: int | None) -> int:
    return BLOCK_BYTES if end is None else max(0, min(BLOCK_BYTES, end - position))


def _objects(folder: Path, above: str, name_start: str) -> Iterator[Listed]:
    """The objects in and below `folder` in key order; `above` is what their keys begin with."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name + "/" if entry.is_dir() else entry.name, entry)
                for entry in entries
                if entry.name.startswith(name_start) and not entry.name.startswith(".")
            )
    except _NO_OBJECT:
        return
    for name, entry in found:
        if name.endswith("/"):
            yield from _objects(Path(entry.path), above + name, "")
            continue
        try:
            status = entry.stat()
        except FileNotFoundError:
            continue  # deleted since
        modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
        yield Listed(key=above + name, size=status.st_size, modified_at=modified_at)


def _folders(path: Path, root: Path) -> list[Path]:
    """The folders from the one that holds `path` up to `root`, both included."""
    above = list(path.parents)
    return above[: above.index(root) + 1]


def _sync(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return  # the object is already deleted again
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
