"""A flow run that acts under a lease: the heartbeat that renews it, and what happens while the database is
away. `BatchRun` and `FineTuneRun` say what a beat exchanges."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import OperationalError

from flows.composition import Yard
from orchestrator.errors import LeaseLost
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobStatus

HEARTBEAT_SECONDS = 2.0
AWAY_SECONDS = 0.5  # between two tries while the database is away

T = TypeVar("T")


class LeasedRun:
    """One attempt at one job of the queue. Not thread-safe: event loop only."""

    def __init__(self, here: Yard, *, job_id: str, attempt: int, lease_seconds: float) -> None:
        self.here = here
        self._job_id = job_id
        self._attempt = attempt
        self._lease_seconds = lease_seconds
        self._leased_until = time.monotonic() + lease_seconds

    async def heart(self) -> None:
        """Beat until cancelled. Raises LeaseLost."""
        while True:
            asked = time.monotonic()
            try:
                await self._beat()
                self._leased_until = asked + self._lease_seconds
            except OperationalError:
                self._require_lease()
            await self._rest()

    async def while_leased(self, action: Callable[[], T]) -> T:
        """Do what the database may hear twice, in a thread; again while it is away and the lease lasts.

        Raises LeaseLost.
        """
        while True:
            try:
                return await asyncio.to_thread(action)
            except OperationalError:
                self._require_lease()
            await asyncio.sleep(AWAY_SECONDS)

    async def is_done(self) -> bool:
        """Whether this attempt has finished its job: a heartbeat that meets its end finds no lease either."""

        def read() -> bool:
            with self.here.database.read() as tx:
                job = jobs.get(tx, self._job_id)
                return job.status is JobStatus.DONE and job.attempt == self._attempt

        return await asyncio.to_thread(read)

    def _require_lease(self) -> None:
        if time.monotonic() > self._leased_until:
            raise LeaseLost(self._job_id) from None

    async def _beat(self) -> None:
        """Renew the lease, and exchange what there is to say. Raises LeaseLost."""
        raise NotImplementedError

    async def _rest(self) -> None:
        """Until the next beat is due."""
        raise NotImplementedError
