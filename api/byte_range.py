"""The `Range` header, as far as a download needs it: one range of bytes."""

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True)
class ByteRange:
    """The bytes from `start` to before `end`; `partial` says that not all were asked for."""

    start: int
    end: int
    partial: bool


def byte_range(header: str | None, *, size: int) -> ByteRange:
    """What to send of `size` bytes. A header that asks for something else, or for nothing that is
    there, is passed over, as RFC 9110 allows: the answer is then the whole."""
    whole = ByteRange(0, size, partial=False)
    found = _RANGE.fullmatch(header or "")
    if found is None or not (found[1] or found[2]):
        return whole
    if found[1]:
        start, end = int(found[1]), min(int(found[2]) + 1 if found[2] else size, size)
    else:
        start, end = max(0, size - int(found[2])), size
    return ByteRange(start, end, partial=True) if start < end else whole
