"""What a trainer is given: the tokens, the newest checkpoint, and its spec."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from flows.fine_tune_run import FineTuneRun
from orchestrator.adapters.store import fetch_adapter
from orchestrator.fine_tuning import checkpoints
from orchestrator.fine_tuning.checkpoints import Restart
from orchestrator.settings import Settings
from orchestrator.storage import keys
from workers.training.spec import LoraSettings, TrainingSpec

BETA = 0.1  # of DPO; supervised training has none


@dataclass(frozen=True)
class Materials:
    """Files on this machine. `resume_from` is the checkpoint of `restart`, both None at the beginning."""

    train: Path
    valid: Path | None
    resume_from: Path | None
    restart: Restart | None


@asynccontextmanager
async def materials(run: FineTuneRun, folder: Path) -> AsyncIterator[Materials]:
    """Bring what the training needs into `folder`, for as long as the block lasts."""
    store, job = run.here.store, run.job

    restart = await run.read(lambda tx: checkpoints.restart(tx, job.id))
    async with AsyncExitStack() as copies:

        async def tokens(kind: keys.Tokens) -> Path:
            key = keys.fine_tuning_tokens(job.organization_id, job.id, kind)
            return await copies.enter_async_context(store.local_copy(key, folder))

        resume_from = None
        if restart is not None:
            resume_from = folder / "resume"
            adapter = await fetch_adapter(store, restart.adapter, resume_from)
            adapter.rename(resume_from / "adapter")
            state = await copies.enter_async_context(store.local_copy(restart.state_key, folder))
            (resume_from / "state.pt").symlink_to(state)
        yield Materials(
            train=await tokens("train"),
            valid=await tokens("valid") if job.validation_file_id else None,
            resume_from=resume_from,
            restart=restart,
        )


def training_spec(run: FineTuneRun, given: Materials, *, folder: Path, micro_tokens: int) -> TrainingSpec:
    """All that the trainer must know: the job's numbers, which determine the result, and this machine's."""
    job, numbers = run.job, run.job.hyperparameters or {}
    on_gpu = run.here.settings.trains_on_cuda()
    return TrainingSpec(
        base=run.spec.source or "",
        base_id=run.spec.id,
        method=job.method.value,
        train=given.train,
        valid=given.valid,
        folder=folder,
        resume_from=given.resume_from,
        seed=job.seed,
        n_epochs=numbers["n_epochs"],
        batch_size=numbers["batch_size"],
        learning_rate=numbers["learning_rate"],
        warmup_steps=numbers["warmup_steps"],
        beta=numbers.get("beta", BETA),
        lora=msgspec.convert(job.lora or {}, LoraSettings),
        micro_tokens=micro_tokens,
        dtype=numbers["dtype"],
        quantization=numbers["quantization"],
        gradient_checkpointing=numbers["gradient_checkpointing"],
        threads=None if on_gpu else threads(run.here.settings),
        evaluate_every_steps=numbers.get("evaluate_every_steps"),
        early_stopping_patience=numbers.get("early_stopping_patience"),
    )


def micro_tokens(run: FineTuneRun) -> int:
    """What the preflight found to fit."""
    tokens: int = (run.job.hyperparameters or {})["micro_tokens"]
    return tokens


def threads(settings: Settings) -> int:
    """Of a trainer on a CPU: half the cores, shared among the slots, since the yard works beside it. More
    threads than free cores make training several times slower. The result's last digits depend on it."""
    return max(1, (os.cpu_count() or 1) // (2 * settings.gpu_slots()))
