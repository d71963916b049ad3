"""The adapters that engines of this machine have brought from the store, one folder a digest, bounded.

A folder's time is when it was last asked for. What engines have, or wait for, is never removed.
"""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from orchestrator import clock

CACHE_BYTES_MAX = 20 * 2**30
UNFINISHED = "."  # how folders begin that are still being filled
UNFINISHED_SECONDS = 24 * 3600


def touch(folder: Path) -> None:
    """Say that the adapter was asked for now."""
    os.utime(folder)


def prune(cache: Path, *, in_use: Collection[str], bytes_max: int = CACHE_BYTES_MAX) -> list[str]:
    """Remove folders, least recently asked for first, until at most `bytes_max` are left or only digests
    `in_use`; the digests removed."""
    for draft in cache.glob(f"{UNFINISHED}*"):  # of a fetch that was killed
        if clock.now().timestamp() - draft.stat().st_mtime > UNFINISHED_SECONDS:
            shutil.rmtree(draft, ignore_errors=True)
    folders = [f for f in cache.iterdir() if f.is_dir() and not f.name.startswith(UNFINISHED)]
    sizes = {f: sum(file.stat().st_size for file in f.iterdir()) for f in folders}
    total = sum(sizes.values())
    removed: list[str] = []
    for folder in sorted(folders, key=lambda f: f.stat().st_mtime):
        if total <= bytes_max:
            break
        if folder.name not in in_use:
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]
            removed.append(folder.name)
    return removed
