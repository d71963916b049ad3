"""A flow run that acts under a lease of the queue: the heartbeat that renews it, and what happens while the
database is away. What a beat exchanges is each kind's own business.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from flows.composition import Yard
from flows.stop import StopSignal
from orchestrator.errors import LeaseLost
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobStatus

HEARTBEAT_SECONDS = 2.0
AWAY_SECONDS = 0.5  # between two tries while the database is away

T = TypeVar("T")


class LeasedRun(ABC):
    """One attempt at one job of the queue. Not thread-safe: event loop only."""

    def __init__(
        self, here: Yard, stop_signal: StopSignal, *, job_id: str, attempt: int, lease_seconds: float
    ) -> None:
        self.here = here
        self.stop_signal = stop_signal
        self._job_id = job_id
        self._attempt = attempt
        self._lease_seconds = lease_seconds
        self._leased_until = time.monotonic() + lease_seconds
        self._nudged = asyncio.Event()

    @property
    def drained(self) -> bool:
        """Whether the worker is going down: stop at the next safe point, the work goes on elsewhere."""
        return self.stop_signal.reason == "drained"

    async def heart(self) -> None:
        """Beat until cancelled. Raises LeaseLost; every other reason to end is in the run's own fields."""
        while True:
            asked = time.monotonic()
            try:
                await self._beat()
                self._leased_until = asked + self._lease_seconds
            except OperationalError:
                self._require_lease()
            await self._rest()

    @abstractmethod
    async def _beat(self) -> None:
        """Renew the lease and exchange what there is to say. Raises LeaseLost."""

    def nudge(self) -> None:
        """Beat now: something has changed that others should know, or that we wait to be told."""
        self._nudged.set()

    async def _rest(self) -> None:
        """Until the next beat is due, somebody nudges, or the worker gives a first reason to end."""
        waits = [asyncio.create_task(self._nudged.wait())]
        if not self.stop_signal.event.is_set():
            waits.append(asyncio.create_task(self.stop_signal.event.wait()))
        try:
            await asyncio.wait(waits, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._nudged.clear()

    async def read(self, question: Callable[[Session], T]) -> T:
        """Ask the database, again while it is away and the lease lasts. Raises LeaseLost."""

        def ask() -> T:
            with self.here.database.read() as tx:
                return question(tx)

        return await self.while_leased(ask)

    async def write(self, change: Callable[[Session], T]) -> T:
        """Make a change that may be made twice, since the answer to a commit can be lost: again while the
        database is away and the lease lasts. Raises LeaseLost."""

        def make() -> T:
            with self.here.database.transaction() as tx:
                return change(tx)

        return await self.while_leased(make)

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
