"""An attempt at a training, with a real database, store and child process, and a trainer that is scripted."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import StateType
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from flows import fine_tune, fine_tune_follower
from flows.beside import beside
from flows.fine_tune_attempt import mirror
from flows.fine_tune_run import FineTuneRun, TrainerLost
from flows.stop import StopSignal
from orchestrator.adapters.model import Adapter, Origin
from orchestrator.database.session import Database
from orchestrator.errors import LeaseLost
from orchestrator.fine_tuning import progress, service
from orchestrator.fine_tuning.model import FineTuningCheckpoint, FineTuningJob
from orchestrator.fine_tuning.states import FineTuningStatus
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job, JobStatus
from orchestrator.metering.model import Usage
from orchestrator.organizations.principal import Principal
from orchestrator.settings import Settings
from orchestrator.storage import keys
from orchestrator.storage.local import LocalStore
from tests.flows import scripted_trainer as scripts
from tests.orchestrator.fine_tuning import jobs_at

WAIT_SECONDS_MAX = 15.0
NUMBERS: dict[str, Any] = {
    "n_epochs": 4,
    "batch_size": 8,
    "learning_rate": 0.001,
    "warmup_steps": 2,
    "micro_tokens": 1024,
    "gradient_checkpointing": False,
    "dtype": "float32",
    "quantization": "none",
}


class Attempts:
    """Attempts at one training, each with the trainer that it is given."""

    def __init__(self, database: Database, store: LocalStore, folder: Path) -> None:
        self.database = database
        self.store = store
        self.folder = folder
        self.stop = StopSignal()
        self.principal: Principal = jobs_at.an_enterprise(database)
        with database.transaction() as tx:
            lease = jobs_at.at_its_files(tx, self.principal)
            progress.validated(
                tx, lease, hyperparameters=NUMBERS, lora={"r": 8}, estimate={}, total_steps=40, report=None
            )
            self.id = lease.fine_tuning_id

    async def begin(self, script: str) -> FineTuneRun:
        """The next attempt, as its flow has it."""
        settings = Settings(home=self.folder, gpu_python=scripts.scripted(self.folder, script))
        here: Any = SimpleNamespace(
            settings=settings,
            database=self.database,
            store=self.store,
            tiers=jobs_at.TIERS,
            registry=jobs_at.REGISTRY,
            scratch=self.folder,
        )
        tokens = keys.fine_tuning_tokens(self.principal.organization_id, self.id, "train")
        await self.store.put(tokens, b"tokens")
        with self.database.transaction() as tx:
            (claimed,) = jobs.claim_these(tx, [jobs_at.queue_of(tx, self.id).id])
        run = await FineTuneRun.begin(
            here, job_id=claimed.id, attempt=claimed.attempt, flow_run_id="run-train", stop_signal=self.stop
        )
        assert run is not None
        return run

    async def walk(self, script: str) -> FineTuneRun:
        """The next attempt, to its end."""
        run = await self.begin(script)
        try:
            await beside(fine_tune._walk(run), run.heart())
        except LeaseLost:
            assert await run.is_done()
        return run

    def job(self) -> FineTuningJob:
        with self.database.read() as tx:
            return tx.get_one(FineTuningJob, self.id)

    def queued(self) -> Job:
        with self.database.read() as tx:
            return jobs_at.queue_of(tx, self.id)

    def messages(self) -> list[str]:
        with self.database.read() as tx:
            return jobs_at.messages(tx, self.id)

    def charged(self) -> list[int]:
        with self.database.read() as tx:
            return [usage.trained_tokens for usage in tx.exec(select(Usage))]


@pytest.fixture
def attempts(
    database: Database, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Attempts]:
    """Attempts whose steps are plain functions, and that show nothing: there is no Prefect."""

    async def show_nothing(*_: Any, **__: Any) -> None:
        return None

    for module, name in (
        (fine_tune, "show_markdown"),
        (fine_tune_follower, "show_progress"),
        (fine_tune_follower, "show_page"),
    ):
        monkeypatch.setattr(module, name, show_nothing)
    monkeypatch.setattr(fine_tune, "train", fine_tune.train.fn)
    monkeypatch.setattr(fine_tune, "publish", fine_tune.publish.fn)
    yield Attempts(database, store, tmp_path)
    assert not list(tmp_path.glob("tmp*"))  # nothing is left in the scratch folder


async def test_a_training_that_finishes_is_a_model_charged_once(attempts: Attempts) -> None:
    await attempts.walk(scripts.FINISHES)
    job = attempts.job()
    assert (job.status, job.step, job.trained_tokens) == ("succeeded", 40, 4000)
    assert job.peak_memory_bytes == 1 << 20
    assert attempts.charged() == [4000]
    with attempts.database.read() as tx:
        model = tx.get_one(Adapter, job.fine_tuned_model)
    assert model.origin is Origin.TRAINED
    assert model.card["versions"] == {"torch": "0"}
    assert model.card["datasets"]["training_file"]["id"] == job.training_file_id
    csv = keys.fine_tuning_result(job.organization_id, job.id, "metrics.csv")
    assert len((await attempts.store.get(csv, size_max=10_000)).splitlines()) == 41


async def test_a_trainer_that_is_killed_goes_on_from_its_checkpoint_elsewhere(attempts: Attempts) -> None:
    run = await attempts.begin(scripts.DIES)
    with pytest.raises(TrainerLost) as lost:
        await beside(fine_tune._walk(run), run.heart())
    assert await run.fail(lost.value)
    assert attempts.job().status == "queued"
    assert attempts.queued().failure == "worker_lost"
    _make_due(attempts)
    await attempts.walk(scripts.FINISHES)
    assert attempts.job().status == "succeeded"
    assert "Fine-tuning job goes on after step 10" in attempts.messages()
    assert attempts.charged() == [4000]


async def test_a_pause_stores_one_more_checkpoint(attempts: Attempts) -> None:
    run = await attempts.begin(scripts.STOPS_WHEN_ASKED)
    walking = asyncio.create_task(beside(fine_tune._walk(run), run.heart()))
    await _until(lambda: attempts.job().step == 15)
    with attempts.database.transaction() as tx:
        service.pause(tx, attempts.principal, attempts.id)
    await asyncio.wait_for(walking, WAIT_SECONDS_MAX)
    assert attempts.job().status == "paused"
    assert attempts.queued().status is JobStatus.DONE
    assert [row.step for row in _checkpoints(attempts)] == [15]
    assert attempts.charged() == []


async def test_a_cancel_on_prefects_pages_is_the_customers_cancel(attempts: Attempts) -> None:
    run = await attempts.begin(scripts.STOPS_WHEN_ASKED)
    walking = asyncio.create_task(beside(fine_tune._walk(run), run.heart()))
    await _until(lambda: attempts.job().step == 15)
    attempts.stop.give("cancelled")
    await asyncio.wait_for(walking, WAIT_SECONDS_MAX)
    assert attempts.job().status == "cancelled"
    assert attempts.charged() == [1500]


async def test_a_worker_that_drains_gives_the_job_back_blameless(attempts: Attempts) -> None:
    run = await attempts.begin(scripts.STOPS_WHEN_ASKED)
    walking = asyncio.create_task(beside(fine_tune._walk(run), run.heart()))
    await _until(lambda: attempts.job().step == 15)
    attempts.stop.give("drained")
    await asyncio.wait_for(walking, WAIT_SECONDS_MAX)
    assert attempts.job().status == "queued"
    queued = attempts.queued()
    assert (queued.status, queued.attempt, queued.failures) == (JobStatus.QUEUED, 1, 0)
    assert [row.step for row in _checkpoints(attempts)] == [15]


async def test_whoever_loses_the_lease_kills_its_trainer_at_once(attempts: Attempts) -> None:
    run = await attempts.begin(scripts.STOPS_WHEN_ASKED)
    walking = asyncio.create_task(beside(fine_tune._walk(run), run.heart()))
    await _until(lambda: attempts.job().step == 15)
    with attempts.database.transaction() as tx:
        jobs.expire(tx, flow_run_ids=["run-train"])
        (rescued,) = jobs.rescue(tx, limit=1)
        progress.rescued(tx, rescued)
    run.nudge()
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(walking, WAIT_SECONDS_MAX)
    assert not await run.is_done()
    assert _checkpoints(attempts) == []


async def test_what_does_not_fit_is_tried_once_more_in_packs_of_half_the_size(attempts: Attempts) -> None:
    await attempts.walk(scripts.NEEDS_SMALL_PACKS)
    assert attempts.job().status == "succeeded"
    assert any("micro-batches of 512 tokens" in message for message in attempts.messages())


async def test_what_does_not_fit_either_fails_and_costs_nothing(attempts: Attempts) -> None:
    await attempts.walk(scripts.NEVER_FITS)
    job = attempts.job()
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["message"]) == ("out_of_memory", "no room for 512")
    assert attempts.charged() == []


async def test_a_training_that_diverges_fails_with_the_trainers_words(attempts: Attempts) -> None:
    await attempts.walk(scripts.DIVERGES)
    job = attempts.job()
    assert (job.status, job.step) == ("failed", 3)
    assert job.error is not None
    assert job.error["code"] == "training_diverged"
    assert attempts.charged() == []


async def test_a_fault_of_the_trainers_own_is_worth_another_attempt(attempts: Attempts) -> None:
    run = await attempts.begin(scripts.BREAKS)
    with pytest.raises(fine_tune.TrainerBroke) as broke:
        await beside(fine_tune._walk(run), run.heart())
    assert await run.fail(broke.value)
    assert attempts.queued().failure == "internal"


async def test_a_database_that_is_away_for_a_moment_costs_nothing(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt, failures = progress.adopt_checkpoint, [1]

    def adopt_late(*arguments: Any, **named: Any) -> list[str]:
        superseded = adopt(*arguments, **named)
        if failures:
            failures.pop()
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))
        return superseded

    monkeypatch.setattr(progress, "adopt_checkpoint", adopt_late)
    await attempts.walk(scripts.FINISHES)
    assert attempts.job().status == "succeeded"
    assert failures == []


@pytest.mark.parametrize(
    ("status", "shown", "name"),
    [
        (FineTuningStatus.SUCCEEDED, StateType.COMPLETED, "Completed"),
        (FineTuningStatus.CANCELLED, StateType.CANCELLED, "Cancelled"),
        (FineTuningStatus.PAUSED, StateType.CANCELLED, "Paused"),
        (FineTuningStatus.FAILED, StateType.FAILED, "Failed"),
        (FineTuningStatus.QUEUED, StateType.COMPLETED, "Completed"),
    ],
)
def test_a_run_shows_what_became_of_its_job(status: FineTuningStatus, shown: StateType, name: str) -> None:
    job: Any = SimpleNamespace(status=status, step=3, total_steps=9, fine_tuned_model="ft:x", error=None)
    state = mirror(job, drained=False)
    assert (state.type, state.name) == (shown, name)


def test_a_run_that_was_drained_is_not_shown_as_done() -> None:
    job: Any = SimpleNamespace(status=FineTuningStatus.QUEUED, step=3, total_steps=9)
    assert mirror(job, drained=True).is_cancelled()


def _checkpoints(attempts: Attempts) -> list[FineTuningCheckpoint]:
    with attempts.database.read() as tx:
        return list(tx.exec(select(FineTuningCheckpoint)))


def _make_due(attempts: Attempts) -> None:
    """Wait no longer for the next attempt."""
    with attempts.database.transaction() as tx:
        queued = jobs_at.queue_of(tx, attempts.id)
        queued.not_before = queued.created_at


async def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not await asyncio.to_thread(reached):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
