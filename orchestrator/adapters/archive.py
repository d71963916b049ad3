"""The ZIP that adapters travel in: exactly `adapter_model.safetensors` and `adapter_config.json`.

What a stranger packed is read as little as possible: two members under two known names, never a name of the
archive's as a path, never more bytes than were allowed, declared or found.
"""

import json
import stat
import zipfile
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NoReturn

from orchestrator.adapters.model import CONFIG, WEIGHTS
from orchestrator.errors import Invalid

CODE = "invalid_adapter_archive"
CONFIG_BYTES_MAX = 1 << 20
BLOCK_BYTES = 1 << 20

# The end of an archive says how long its list of members is, and zipfile reads all of it into memory.
_END = b"PK\x05\x06"
_END_BYTES = 22
_LOCATOR = b"PK\x06\x07"  # of the longer end that an archive beyond 4 GB has
_LOCATOR_BYTES = 20
_LIST_BYTES_MAX = 4096
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch.save, new and old


def unpack(archive: Path, folder: Path, *, weights_bytes_max: int) -> dict[str, Any]:
    """Write the archive's two files to `folder`, which is made, and return the config. Memory is bounded by
    a block; a member of more than its bytes ends it. Blocks.

    Raises Invalid with what was found and what is expected; `folder` may hold a part by then.
    """
    folder.mkdir()
    with archive.open("rb") as file:
        _check_end(file)
        try:
            with zipfile.ZipFile(file) as members:
                found = _the_two(members.infolist())
                _extract(members, found[CONFIG], folder / CONFIG, size_max=CONFIG_BYTES_MAX)
                _extract(members, found[WEIGHTS], folder / WEIGHTS, size_max=weights_bytes_max)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            _refuse(f"the ZIP is damaged: {error}")
    return _read_config(folder / CONFIG)


@dataclass(frozen=True)
class Packed:
    """A file to pack: its name in the archive, its size in bytes, its bytes."""

    name: str
    size: int
    chunks: AsyncIterator[bytes]


async def pack(files: Sequence[Packed], *, modified_at: datetime) -> AsyncIterator[bytes]:
    """The files as a ZIP, uncompressed, while they are read: a block in memory at a time."""
    drain = _Drain()
    with zipfile.ZipFile(drain, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            info = zipfile.ZipInfo(file.name, modified_at.timetuple()[:6])
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            with archive.open(info, "w", force_zip64=file.size > zipfile.ZIP64_LIMIT) as member:
                async for chunk in file.chunks:
                    member.write(chunk)
                    yield drain.take()
    yield drain.take()


class _Drain:
    """What zipfile writes to: no file to seek in, but bytes to be taken away."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        self._waiting += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken


def _check_end(file: IO[bytes]) -> None:
    """Refuse what is no ZIP, and a list of members that is longer than two can be."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES - _LOCATOR_BYTES))
    tail = file.read()
    end = tail[-_END_BYTES:]
    if not end.startswith(_END) or not end.endswith(b"\0\0"):
        _refuse("it is no ZIP, or has a comment at its end")
    if tail[:-_END_BYTES].startswith(_LOCATOR):
        _refuse("it is in the ZIP64 form, which archives need beyond 4 GB only; pack it without")
    list_bytes, list_start = (int.from_bytes(end[at : at + 4], "little") for at in (12, 16))
    if list_start + list_bytes + _END_BYTES != size:
        _refuse("it has bytes that belong to no member")
    if list_bytes > _LIST_BYTES_MAX:
        _refuse(f"it lists {int.from_bytes(end[10:12], 'little'):,} members")


def _the_two(members: Sequence[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if member.filename not in (WEIGHTS, CONFIG):
            _refuse(f"it has a member {member.filename[:100]!r}{_advice(member.filename)}")
        if kind not in (0, stat.S_IFREG):
            _refuse(f"its member {member.filename} is a link or another special file")
        if member.flag_bits & 0x1:
            _refuse(f"its member {member.filename} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            _refuse(f"its member {member.filename} is compressed by a method other than deflate")
    names = [member.filename for member in members]
    for name in (WEIGHTS, CONFIG):
        if names.count(name) != 1:
            _refuse(f"it has {name} {names.count(name)} times")
    return dict(zip(names, members, strict=True))


def _advice(name: str) -> str:
    if name.endswith((".bin", ".pt", ".pth", ".pkl")):
        return ": weights come as safetensors; a pickle is a program, and none is opened here"
    if name.rpartition("/")[2] in (WEIGHTS, CONFIG):
        return ": the two files lie at the top, in no folder"
    return ""


def _extract(members: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path, *, size_max: int) -> None:
    if member.file_size > size_max:
        _too_large(member.filename, f"is {member.file_size:,} bytes unpacked", size_max)
    size = 0
    with members.open(member) as source, to.open("wb") as file:
        while block := source.read(BLOCK_BYTES):
            if not size and to.name == WEIGHTS and block.startswith(_PICKLES):
                _refuse(
                    f"{WEIGHTS} is a pickle, not safetensors: a pickle is a program, and none is opened here"
                )
            size += len(block)
            if size > size_max:
                _too_large(member.filename, "goes on", size_max)
            file.write(block)
    if size != member.file_size:
        _refuse(f"its member {member.filename} declares {member.file_size:,} bytes and has {size:,}")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        _refuse(f"{CONFIG} is no JSON object")
    return config


def _too_large(name: str, found: str, size_max: int) -> NoReturn:
    _refuse(f"its member {name} {found}; an adapter for this model has at most {size_max:,}")


def _refuse(found: str) -> NoReturn:
    raise Invalid(
        f"This is not the ZIP of an adapter: {found}. Expected exactly {WEIGHTS} and {CONFIG}, as "
        f"`zip -j adapter.zip {WEIGHTS} {CONFIG}` packs them.",
        code=CODE,
        param="input_file_id",
    )
