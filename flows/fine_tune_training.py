"""The middle step of a fine-tuning job: a trainer on this machine's GPUs, followed to its last report.

Its metrics become events about once a second; its checkpoints are stored first and then adopted under the
lease, as a batch's segments are. A reason to stop becomes SIGTERM: one more checkpoint, and the end.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlmodel import Session

from flows.fine_tune_follower import RECORD_SECONDS, Follower
from flows.fine_tune_materials import Materials, materials, micro_tokens, training_spec
from flows.fine_tune_run import FineTuneRun
from flows.gpus import visible_gpus
from flows.stop import GRACE_SECONDS
from flows.trainer import LastReport, Trainer
from orchestrator.fine_tuning import events, progress
from orchestrator.fine_tuning.model import EventLevel
from orchestrator.settings import inherited_environment
from workers.training.reports import Failed

DRAIN_SECONDS_MAX = GRACE_SECONDS["drained"] - 5.0  # leaves time to store the checkpoint
STOP_SECONDS_MAX = 600.0  # a step of a large model may last


async def train(run: FineTuneRun) -> LastReport | None:
    """Train from the newest checkpoint; the trainer's last report, None where it was asked to stop before
    it could say anything.

    What does not fit into memory, in spite of the preflight, is tried once more in micro-batches of half
    the size, which gives the same result. Raises TrainerLost.
    """
    with visible_gpus(run.here.settings, run.job.gpus) as visible:
        last = await _life(run, visible, micro_tokens(run))
        if not isinstance(last, Failed) or last.code != "out_of_memory":
            return last
        if run.stopping.is_set():
            return None
        await run.write(partial(_say_smaller, run, micro_tokens(run) // 2))
        return await _life(run, visible, micro_tokens(run) // 2)


async def _life(run: FineTuneRun, visible: Mapping[str, str], tokens: int) -> LastReport | None:
    """One trainer, from its start to its end."""
    with TemporaryDirectory(dir=run.here.scratch) as name:
        folder = Path(name)
        async with materials(run, folder) as given:
            settings = run.here.settings
            trainer = await asyncio.to_thread(
                Trainer.start,
                training_spec(run, given, folder=folder, micro_tokens=tokens),
                python=settings.gpu_interpreter(),
                processes=run.job.gpus if settings.has_cuda() else 1,
                environment=inherited_environment() | dict(visible),
                log=settings.absolute_home() / "logs" / "trainers" / f"{run.job.id}.log",
            )
            try:
                return await _follow(run, trainer, await _follower(run, given))
            finally:
                await trainer.end()


async def _follow(run: FineTuneRun, trainer: Trainer, follower: Follower) -> LastReport | None:
    last: LastReport | None = None
    async with _shown(follower):
        async for reports in trainer.reports():
            if run.stopping.is_set():
                trainer.ask_to_stop(DRAIN_SECONDS_MAX if run.drained else STOP_SECONDS_MAX)
            for report in reports:
                await follower.take(report)
                if isinstance(report, LastReport):
                    last = report
            await follower.record(not_before_seconds=RECORD_SECONDS)
        await follower.record()
    await follower.show_last()
    return last


async def _follower(run: FineTuneRun, given: Materials) -> Follower:
    curve = await run.read(lambda tx: events.curve(tx, run.job.id))
    return Follower(run, curve, adopted_step=given.restart.step if given.restart else 0)


def _say_smaller(run: FineTuneRun, tokens: int, tx: Session) -> None:
    message = (
        f"The memory ended: the training goes on in micro-batches of {tokens:,} tokens, half as many as "
        "before. The result is the same."
    )
    events.say(tx, progress.held(tx, run.lease), message, level=EventLevel.WARN)


@asynccontextmanager
async def _shown(follower: Follower) -> AsyncIterator[None]:
    """Keep the run's artifacts in Prefect up to date while the block runs."""
    showing = asyncio.create_task(follower.show())
    try:
        yield
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing
