"""One attempt at one fine-tuning job while it runs, at its files or at its training: what it works on, and
every reason to stop. The files' flow and the training's share it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Self, TypeVar

from flows.composition import Yard
from flows.leased_run import LeasedRun
from flows.stop import StopSignal
from orchestrator.entitlements.tiers import Tier
from orchestrator.errors import Conflict, LeaseLost
from orchestrator.files.model import File
from orchestrator.fine_tuning import progress, service
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.progress import FineTuningLease, Stop
from orchestrator.jobs.retry import FailureReason
from orchestrator.models.registry import ModelSpec
from orchestrator.storage.store import ObjectMissing, StoreUnavailable

T = TypeVar("T")


class FineTuneRun(LeasedRun):
    """State shared by the steps of one flow run and its heartbeat. Not thread-safe: event loop only.

    `stopping` is set once there is a reason to end before the training's own end: `stop` says what the
    customer wants, `drained` that the worker goes down. `versions` are those of the libraries that train,
    once the trainer has said so.
    """

    def __init__(
        self,
        here: Yard,
        lease: FineTuningLease,
        job: FineTuningJob,
        files: tuple[File, File | None],
        stop_signal: StopSignal,
    ) -> None:
        super().__init__(
            here,
            stop_signal,
            job_id=lease.job_id,
            attempt=lease.attempt,
            lease_seconds=progress.LEASE_SECONDS,
        )
        self.lease = lease
        self.job = job
        self.training_file, self.validation_file = files
        self.tier: Tier = here.tiers[job.tier]
        self.versions: Mapping[str, str] = {}
        self.stop: Stop | None = None
        self.stopping = asyncio.Event()

    @classmethod
    async def begin(
        cls, here: Yard, *, job_id: str, attempt: int, flow_run_id: str, stop_signal: StopSignal
    ) -> Self | None:
        """Take the lease; None where this attempt is not the current one any more."""

        def take() -> tuple[FineTuningLease, FineTuningJob, tuple[File, File | None]] | None:
            with here.database.transaction() as tx:
                lease = progress.begin(tx, job_id=job_id, attempt=attempt, flow_run_id=flow_run_id)
                if lease is None:
                    return None
                job = tx.get_one(FineTuningJob, lease.fine_tuning_id)
                validation = tx.get_one(File, job.validation_file_id) if job.validation_file_id else None
                return lease, job, (tx.get_one(File, job.training_file_id), validation)

        taken = await asyncio.to_thread(take)
        return cls(here, *taken, stop_signal) if taken else None

    @property
    def spec(self) -> ModelSpec:
        """The base model. The job's creation found it in the registry; an operator may have removed it."""
        spec = self.here.registry.get(self.job.base_model)
        if spec is None:
            raise LookupError(f"{self.job.base_model} is not a model of this yard any more")
        return spec

    async def refresh(self) -> FineTuningJob:
        """Read the job's row again."""
        self.job = await self.read(lambda tx: tx.get_one(FineTuningJob, self.lease.fine_tuning_id))
        return self.job

    async def fail(self, error: Exception) -> bool:
        """Say that this attempt broke, and why; True if another will be made."""
        reason = failure_reason(error)
        return await self.write(lambda tx: progress.failed(tx, self.lease, reason))

    async def _beat(self) -> None:
        if self.stop_signal.reason == "fenced":
            raise LeaseLost(self.lease.fine_tuning_id)
        self.stop = await asyncio.to_thread(self._exchange)
        if self.stop or self.drained:
            self.stopping.set()

    def _exchange(self) -> Stop | None:
        if self.stop_signal.reason == "cancelled":
            # Apart from the beat, which may find that the job has ended with it, and the lease too.
            with suppress(Conflict), self.here.database.transaction() as tx:
                service.request_cancel(tx, self.lease.fine_tuning_id, actor="prefect")
        with self.here.database.transaction() as tx:
            return progress.beat(tx, self.lease)


class TrainerLost(Exception):
    """The trainer ended without saying why: killed, or out of memory."""


def failure_reason(error: Exception) -> FailureReason:
    """What an exception means for the next attempt."""
    match error:
        case ObjectMissing() | StoreUnavailable():
            return FailureReason.STORE_UNAVAILABLE
        case TrainerLost():
            return FailureReason.WORKER_LOST
        case _:
            return FailureReason.INTERNAL
