"""One attempt at one batch while it runs: its lease, its heartbeat, and what both sides know of it.

The heartbeat renews the lease, says what is wanted, reads what may be in flight, and carries every reason
to stop: a cancel from the API or from Prefect's pages, the window's end, a model without an engine, a
worker that drains, a lease that was lost.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Self

from flows.composition import Yard
from flows.leased_run import LeasedRun
from flows.stop import StopSignal
from orchestrator import clock
from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches import progress
from orchestrator.batches.model import Batch
from orchestrator.batches.named_models import admitted
from orchestrator.batches.progress import BatchLease, Situation, Stop
from orchestrator.batches.rates import keep_rates, rates_now
from orchestrator.batches.segments import SegmentCorrupt
from orchestrator.entitlements.tiers import Tier
from orchestrator.errors import LeaseLost
from orchestrator.files.model import File
from orchestrator.jobs import service as jobs
from orchestrator.jobs.retry import FailureReason
from orchestrator.spending.bill import Bill
from orchestrator.storage.store import ObjectMissing
from workers.inference.drive import Orders, Target

RATE_SECONDS = 30.0  # the stretch over which lines and tokens per second are measured


class Drained(Exception):
    """The worker is going down on purpose: the batch goes on elsewhere, from what is adopted."""


class BatchRun(LeasedRun):
    """State shared by the steps of one flow run and its heartbeat. Not thread-safe: event loop only."""

    def __init__(
        self, here: Yard, lease: BatchLease, batch: Batch, input_key: str, stop_signal: StopSignal
    ) -> None:
        super().__init__(
            here,
            stop_signal,
            job_id=lease.job_id,
            attempt=lease.attempt,
            lease_seconds=progress.LEASE_SECONDS,
        )
        self.lease = lease
        self.batch = batch
        self.input_key = input_key
        self.tier: Tier = here.tiers[batch.tier]
        self.named: dict[str, ServedModel] = {}  # the models of its lines, once those are known
        self.orders = Orders()
        self.stop: Stop | None = None
        self.stop_words: str | None = None  # of who stopped it, for its errors
        self._samples: deque[tuple[float, int, int]] = deque()

    @classmethod
    async def begin(
        cls, here: Yard, *, job_id: str, attempt: int, flow_run_id: str, stop_signal: StopSignal
    ) -> Self | None:
        """Take the lease; None where this attempt is not the current one any more."""

        def take() -> tuple[BatchLease, Batch, str] | None:
            with here.database.transaction() as tx:
                lease = progress.begin(tx, job_id=job_id, attempt=attempt, flow_run_id=flow_run_id)
                if lease is None:
                    return None
                batch = tx.get_one(Batch, lease.batch_id)
                return lease, batch, tx.get_one(File, batch.input_file_id).key

        taken = await asyncio.to_thread(take)
        return cls(here, *taken, stop_signal) if taken else None

    async def refresh(self) -> Batch:
        """Read the batch's row again."""

        def read() -> Batch:
            with self.here.database.read() as tx:
                return tx.get_one(Batch, self.lease.batch_id)

        self.batch = await asyncio.to_thread(read)
        return self.batch

    async def learn_models(self, names: Iterable[str]) -> None:
        """Look up the models that the batch's lines name, for its demand and its lines."""
        registry, organization_id = self.here.registry, self.batch.organization_id

        def read() -> dict[str, ServedModel]:
            with self.here.database.transaction() as tx:
                named = admitted(tx, registry, names, organization_id=organization_id)
                batch = tx.get_one(Batch, self.batch.id)
                if batch.rates is None:  # validated by a yard that did not keep them yet
                    discount = self.tier.batch_discount
                    rates = rates_now(tx, registry, named, organization_id=organization_id, discount=discount)
                    keep_rates(batch, rates)
                return named

        self.named = await self.while_leased(read)
        self.orders.adapters = {name for name, model in self.named.items() if model.adapter}

    async def _beat(self) -> None:
        match self.stop_signal.reason:
            case "fenced":
                raise LeaseLost(self.lease.batch_id)
            case "drained":
                self.orders.stop_sending("drained")
            case "cancelled":
                await asyncio.to_thread(self._cancelled_in_prefect)
        budget = None if self.stop else self.orders.budget  # who stops asks for no more money
        stalled = budget is not None and budget.stalled
        bill = budget.bill() if budget is not None else None
        situation = await asyncio.to_thread(self._exchange, bill, stalled)
        if budget is not None:
            budget.grant(situation.granted)
            if stalled and not budget.stalled:
                self.nudge()  # it may claim its share of engines again
        if situation.stop:
            self.stop = situation.stop
            self.stop_words = situation.words
            self.orders.stop_sending(situation.stop.value)
        else:
            self.orders.refused.update(situation.refused)
            self.orders.retarget(
                {
                    model: [Target(s.engine_id, s.url, s.api_key, s.slots) for s in shares]
                    for model, shares in situation.shares.items()
                }
            )

    def _exchange(self, bill: Bill | None, stalled: bool) -> Situation:
        """While it waits for money alone, the batch claims no engine that others could use."""
        remaining = {model: 0 if stalled else lines for model, lines in self.orders.remaining.items()}
        with self.here.database.transaction() as tx:
            return progress.heartbeat(
                tx,
                self.lease,
                remaining=remaining,
                named=self.named,
                weight=self.tier.weight,
                rate=self.rate(),
                bill=bill,
            )

    def _cancelled_in_prefect(self) -> None:
        with self.here.database.transaction() as tx:
            progress.cancel(tx, self.lease, actor="prefect")

    def seen(self, batch: Batch) -> None:
        """Remember the batch as it was just written, and how far it is, to measure its rate."""
        self.batch = batch
        lines = batch.request_completed + batch.request_failed
        tokens = sum(u["input_tokens"] + u["output_tokens"] for u in batch.usage.values())
        now = time.monotonic()
        self._samples.append((now, lines, tokens))
        while len(self._samples) > 2 and now - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()

    def rate(self) -> dict[str, float] | None:
        """Lines and tokens per second of late, None until there are two samples."""
        if len(self._samples) < 2:
            return None
        (t0, lines0, tokens0), (t1, lines1, tokens1) = self._samples[0], self._samples[-1]
        seconds = max(t1 - t0, 0.001)
        return {
            "lines_per_second": round((lines1 - lines0) / seconds, 3),
            "tokens_per_second": round((tokens1 - tokens0) / seconds, 3),
        }

    async def fail(self, error: Exception) -> bool:
        """Say that this attempt broke, and why; True if another will be made."""
        reason = failure_reason(error)

        def write() -> bool:
            with self.here.database.transaction() as tx:
                return progress.failed(tx, self.lease, reason)

        return await asyncio.to_thread(write)

    async def release(self) -> None:
        """Give the job back, at once and without counting the attempt."""

        def put_back() -> None:
            with self.here.database.transaction() as tx:
                jobs.release(
                    tx,
                    job_id=self.lease.job_id,
                    token=self.lease.token,
                    not_before=clock.now(),
                )

        await asyncio.to_thread(put_back)


def failure_reason(error: Exception) -> FailureReason:
    """What an exception means for the next attempt."""
    if isinstance(error, (ObjectMissing, SegmentCorrupt)):
        return FailureReason.STORE_UNAVAILABLE
    return FailureReason.INTERNAL
