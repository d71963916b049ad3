"""An adapter's files in the object store, under the SHA-256 of the two that make it and what they came from.

Putting them again from there sends only what is missing.
"""

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from orchestrator.adapters import card as cards
from orchestrator.adapters.model import CONFIG, WEIGHTS
from orchestrator.storage import keys
from orchestrator.storage.store import ObjectStore

BLOCK_BYTES = 1 << 20


class AdapterDamaged(Exception):
    """The store's bytes are not those that the digest names."""


class Located(Protocol):
    """Whatever says where an adapter's bytes are, such as its row."""

    digest: str
    key_prefix: str


@dataclass(frozen=True)
class StoredAdapter:
    """Files in the store, not yet a model. `bytes` counts weights and config together."""

    digest: str
    key_prefix: str
    bytes: int
    rank: int
    target_modules: tuple[str, ...]


async def put_adapter(
    store: ObjectStore, organization_id: str, source: str, folder: Path, card: Mapping[str, Any]
) -> StoredAdapter:
    """Store the two files in `folder` and, beside them, how they were made. `source` is what no other adapter
    comes from: an import, or a training's step. Raises FileNotFoundError where a file is missing,
    StoreUnavailable."""
    sums = {name: await asyncio.to_thread(_sha256, folder / name) for name in (WEIGHTS, CONFIG)}
    digest = _digest(sums[WEIGHTS], sums[CONFIG])
    prefix = keys.adapter_prefix(organization_id, digest, source)
    texts: dict[keys.AdapterFile, tuple[bytes, str]] = {
        "card.json": (cards.as_json(card), "application/json"),
        "README.md": (cards.as_readme(card), "text/markdown"),
    }
    for name, (data, content_type) in texts.items():
        if await store.size(keys.adapter_file(prefix, name)) is None:
            await store.put(keys.adapter_file(prefix, name), data, content_type=content_type)
    size = 0
    for file in (CONFIG, WEIGHTS):
        size += (folder / file).stat().st_size
        if await store.size(keys.adapter_file(prefix, file)) is None:
            await store.put_stream(
                keys.adapter_file(prefix, file), _read(folder / file), content_type="application/octet-stream"
            )
    config = json.loads((folder / CONFIG).read_bytes())
    targets = config["target_modules"]
    return StoredAdapter(
        digest=digest,
        key_prefix=prefix,
        bytes=size,
        rank=max([config["r"], *(config.get("rank_pattern") or {}).values()]),
        target_modules=tuple(sorted([targets] if isinstance(targets, str) else targets)),
    )


async def fetch_adapter(store: ObjectStore, adapter: Located, cache: Path) -> Path:
    """The folder in `cache` with the adapter's two files, brought from the store where it is not there yet.

    A folder appears whole and verified or not at all, whoever else fetches it at the same time. Raises
    ObjectMissing, StoreUnavailable, AdapterDamaged.
    """
    home = cache / adapter.digest
    if home.is_dir():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=cache))
    try:
        sums = [
            await _download(store, keys.adapter_file(adapter.key_prefix, WEIGHTS), draft / WEIGHTS),
            await _download(store, keys.adapter_file(adapter.key_prefix, CONFIG), draft / CONFIG),
        ]
        if _digest(*sums) != adapter.digest:
            raise AdapterDamaged(
                f"{adapter.key_prefix}: expected the digest in its name, found {_digest(*sums)}"
            )
        draft.chmod(0o755)
        try:
            draft.rename(home)
        except OSError:
            if not home.is_dir():  # else another process was faster, with the same bytes
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return home


def _digest(weights: str, config: str) -> str:
    """Of both files' SHA-256 in hexadecimal, the weights' first."""
    return hashlib.sha256(f"{weights}{config}".encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
            yield block


async def _download(store: ObjectStore, key: str, path: Path) -> str:
    """Write the object to `path` and return its SHA-256."""
    digest = hashlib.sha256()

    def take(file: IO[bytes], block: bytes) -> None:
        file.write(block)
        digest.update(block)

    with path.open("wb") as file:
        async for block in store.get_stream(key):
            await asyncio.to_thread(take, file, block)
    return digest.hexdigest()
