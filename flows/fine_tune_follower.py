"""What a trainer reports, as it reaches the database, the store and Prefect's pages."""

import asyncio
import shutil
import time
from collections import deque
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID

from sqlmodel import Session

from flows.artifacts import show_page, show_progress
from flows.fine_tune_card import card
from flows.fine_tune_run import FineTuneRun
from flows.loss_curve import loss_curve
from orchestrator.adapters.store import put_adapter
from orchestrator.fine_tuning import progress
from orchestrator.fine_tuning.checkpoints import StoredCheckpoint
from orchestrator.fine_tuning.events import StepMetrics
from orchestrator.storage import keys
from orchestrator.storage.transfer import put_file
from workers.training.reports import Checkpoint, Evaluation, Report, Started, Step

RECORD_SECONDS = 1.0
SHOW_SECONDS = 2.0
CURVE_SECONDS = 10.0
RATE_STEPS = 50  # the stretch over which steps per second are measured


class Follower:
    """Takes a trainer's reports in order. Event loop only.

    `curve` is every step of the job so far, those of earlier attempts included.
    """

    def __init__(self, run: FineTuneRun, curve: list[StepMetrics], *, adopted_step: int) -> None:
        self.run = run
        self.curve = curve
        self.total_steps = run.job.total_steps or 0
        self._adopted_step = adopted_step
        self._unrecorded: dict[int, StepMetrics] = {}
        self._recorded_at = 0.0
        self._peak_memory_bytes = 0
        self._seconds: deque[float] = deque(maxlen=RATE_STEPS)
        self._bar: UUID | None = None
        self._page: UUID | None = None

    async def take(self, report: Report) -> None:
        """Make of one report what it means. Raises LeaseLost."""
        match report:
            case Started():
                self.total_steps = report.total_steps
                self.run.versions = report.versions
                await self.run.write(partial(self._started, report))
            case Step():
                self._seconds.append(report.seconds)
                self._peak_memory_bytes = max(self._peak_memory_bytes, report.peak_memory_bytes)
                self._note(_metrics(report))
            case Evaluation() if self.curve and self.curve[-1].step == report.step:
                self._note(
                    replace(
                        self.curve[-1],
                        valid_loss=report.valid_loss,
                        valid_mean_token_accuracy=report.valid_mean_token_accuracy,
                        full=report.full,
                    )
                )
            case Checkpoint() if report.step > self._adopted_step:
                await self.record()
                await self._store(report)

    async def record(self, *, not_before_seconds: float = 0.0) -> None:
        """Write what is not yet written, unless that was done less than so long ago. Raises LeaseLost."""
        if self._unrecorded and time.monotonic() - self._recorded_at >= not_before_seconds:
            metrics, self._unrecorded = list(self._unrecorded.values()), {}
            await self.run.write(partial(self._record, metrics))
            self._recorded_at = time.monotonic()

    def steps_per_second(self) -> float | None:
        """Of late; None before the first step."""
        spent = sum(self._seconds)
        return len(self._seconds) / spent if spent > 0 else None

    def _note(self, metrics: StepMetrics) -> None:
        while self.curve and self.curve[-1].step >= metrics.step:  # done twice, after a crash
            self.curve.pop()
        self.curve.append(metrics)
        self._unrecorded[metrics.step] = metrics

    def _started(self, report: Started, tx: Session) -> None:
        progress.started(tx, self.run.lease, step=report.step, total_steps=report.total_steps)

    def _record(self, metrics: list[StepMetrics], tx: Session) -> None:
        progress.record(
            tx,
            self.run.lease,
            metrics,
            steps_per_second=self.steps_per_second(),
            peak_memory_bytes=self._peak_memory_bytes,
        )

    async def _store(self, report: Checkpoint) -> None:
        """Store the checkpoint, adopt it, then forget what it supersedes, here and there."""
        run, folder = self.run, Path(report.path)
        metrics = self.curve[-1].data(self.total_steps) if self.curve else {"step": report.step}
        made = card(run, step=report.step, trained_tokens=report.trained_tokens, metrics=metrics)
        state_key = keys.fine_tuning_state(run.job.organization_id, run.job.id, report.step)
        source = f"{run.job.id}-{report.step}"
        files = await put_adapter(run.here.store, run.job.organization_id, source, folder / "adapter", made)
        await put_file(run.here.store, state_key, folder / "state.pt")
        stored = StoredCheckpoint(
            step=report.step,
            trained_tokens=report.trained_tokens,
            files=files,
            card=made,
            state_key=state_key,
            metrics=metrics,
        )
        superseded = await run.write(lambda tx: progress.adopt_checkpoint(tx, run.lease, stored))
        self._adopted_step = report.step
        await run.here.store.delete(superseded)
        await asyncio.to_thread(shutil.rmtree, folder)

    async def show(self) -> None:
        """Keep the run's progress and loss curve in Prefect up to date until cancelled. Only what has
        changed: each update costs Prefect's server 25 ms."""
        shown, drawn_at = "", float("-inf")
        while True:
            if self.curve and (words := self.words()) != shown:
                shown = words
                await self._show_progress()
                if time.monotonic() - drawn_at >= CURVE_SECONDS:
                    drawn_at = time.monotonic()
                    await self._draw()
            await asyncio.sleep(SHOW_SECONDS)

    async def show_last(self) -> None:
        """Leave both as the training has ended."""
        if self.curve:
            await self._show_progress()
            await self._draw()

    async def _show_progress(self) -> None:
        percent = 100 * self.curve[-1].step / max(1, self.total_steps)
        self._bar = await show_progress(self._bar, percent, self.words(), key=self.run.job.id)

    async def _draw(self) -> None:
        self._page = await show_page(self._page, loss_curve(self.curve), key=f"{self.run.job.id}-loss")

    def words(self) -> str:
        """How far it is, for a person: steps, loss, time left."""
        last, rate = self.curve[-1], self.steps_per_second()
        todo = self.total_steps - last.step
        left = f", {todo / rate:.0f} s left" if rate and todo else ""
        return f"step {last.step} of {self.total_steps}, loss {last.train_loss:.4f}{left}"


def _metrics(report: Step) -> StepMetrics:
    return StepMetrics(
        step=report.step,
        epoch=report.epoch,
        train_loss=report.train_loss,
        train_mean_token_accuracy=report.train_mean_token_accuracy,
        learning_rate=report.learning_rate,
        grad_norm=report.grad_norm,
        trained_tokens=report.trained_tokens,
    )
