"""How many of something one organization may have under way at once in this process: what a process can
bear. What a tier allows is counted for all processes, by `orchestrator.limits.at_once`."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import QuotaExceeded

RETRY_AFTER_SECONDS = 1.0


class Slots:
    """Counts per organization. Used from the event loop only, so no lock is needed."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, organization_id: str, *, limit: int) -> Iterator[None]:
        """Hold one slot for the block. Raises QuotaExceeded where `limit` are taken already."""
        taken = self._taken[organization_id]
        if taken >= limit:
            raise QuotaExceeded(
                f"Limit reached for {self._what}: limit {limit}, under way {taken}. "
                "Wait for one to end and send this again.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._taken[organization_id] += 1
        try:
            yield
        finally:
            self._taken[organization_id] -= 1
            if not self._taken[organization_id]:
                del self._taken[organization_id]
