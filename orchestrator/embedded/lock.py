"""One yard per home. The kernel holds the lock: a yard killed with -9 leaves none behind."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = "yard.lock"
_CHARACTERS_MAX = 4096


class AlreadyUp(Exception):
    """Another process runs the yard of this home."""


@contextmanager
def hold(home: Path, *, api_url: str) -> Iterator[None]:
    """Be the only yard of `home` until the block ends. Raises AlreadyUp."""
    with (home / _NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUp(
                f"A yard is already up on {home}: {_read(home)}. Use that one, end it with"
                " `kill <process>`, or give this one a home and ports of its own: YARD_HOME,"
                " YARD_API_PORT, YARD_PREFECT_PORT."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}, answering at {api_url}")
        file.flush()
        yield


def holder(home: Path) -> str | None:
    """Who holds `home` now, in words, or None if nobody does."""
    try:
        with (home / _NAME).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass
    except BlockingIOError:
        return _read(home)
    return None


def _read(home: Path) -> str:
    with (home / _NAME).open("r") as file:
        return file.read(_CHARACTERS_MAX)
