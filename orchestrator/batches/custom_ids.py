"""Finds a custom_id that was used before, in little memory."""

import numpy as np

_MASK = 2**64 - 1


class CustomIds:
    """Remembers up to `lines_max` ids as 64-bit hashes in an open-addressing table: at most 50
    bytes an id, 25 MB for a million of them, where a set of strings would take 100 MB and more.

    Is it exact? A repeated id has the same hash, so no duplicate is ever missed. Two different ids
    could share all 64 bits: among n ids some pair does with probability below n² / 2^65, for a
    million lines 3 in 100 million files. Python's string hash is keyed anew in every process, so
    nobody can craft such a pair, and a file refused by that accident passes when it is sent again.
    """

    def __init__(self, lines_max: int) -> None:
        slots = 1 << (2 * lines_max).bit_length()  # at most half full: probes stay short
        self._last_slot = slots - 1
        # numpy's zeros cost no memory until touched; a memoryview is read faster than an array
        self._hashes = np.zeros(slots, dtype=np.uint64).data
        self._lines = np.zeros(slots, dtype=np.uint32).data

    def earlier_line(self, custom_id: str, line: int) -> int | None:
        """The line that had this id first, or None: then it is remembered for `line`."""
        key = hash(custom_id) & _MASK or 1  # zero marks a free slot
        slot = key & self._last_slot
        while (found := self._hashes[slot]) != key:
            if found == 0:
                self._hashes[slot] = key
                self._lines[slot] = line
                return None
            slot = (slot + 1) & self._last_slot
        return int(self._lines[slot])
