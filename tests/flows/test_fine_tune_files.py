"""An attempt at a job's files, with a real database, store and child process."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlmodel import select

from flows import fine_tune_files
from flows.beside import beside
from flows.fine_tune_run import FineTuneRun
from flows.stop import StopSignal
from orchestrator.child_pool import ChildPool
from orchestrator.database.session import Database
from orchestrator.datasets.token_file import TokenFile
from orchestrator.errors import LeaseLost
from orchestrator.files.model import File
from orchestrator.fine_tuning import plan
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobKind, JobStatus
from orchestrator.models.registry import Registry
from orchestrator.models.shape import ModelShape
from orchestrator.settings import Settings
from orchestrator.storage import keys
from orchestrator.storage.local import LocalStore
from tests.orchestrator.fine_tuning import jobs_at
from tests.tiny_tokenizer import write_tokenizer

EXAMPLE = {"prompt": "how are you", "completion": "very well end"}
HUGE = ModelShape(
    model_type="llama",
    width=8192,
    layers=80,
    vocabulary=128_000,
    parameters=70_000_000_000,
    linear={f"layers.{n}.mlp.up_proj": (28_672, 8_192) for n in range(80)},
)


@pytest.fixture(scope="module")
def reading() -> Iterator[ChildPool]:
    """The child that reads."""
    pool = ChildPool()
    yield pool
    pool.close()


class Files:
    """A job whose training file has these lines."""

    def __init__(self, database: Database, store: LocalStore, folder: Path, reading: ChildPool) -> None:
        self.database = database
        self.store = store
        spec = jobs_at.a_model().model_copy(
            update={"source": str(write_tokenizer(folder / "model", words=["how", "end"], end="end"))}
        )
        self.here: Any = SimpleNamespace(
            settings=Settings(home=folder, training_memory_gib=4),
            database=database,
            store=store,
            tiers=jobs_at.TIERS,
            registry=Registry((spec,)),
            datasets=reading,
            scratch=folder,
        )

    async def read(self, *lines: Any) -> FineTuningJob:
        """One attempt, to its end."""
        principal = jobs_at.an_enterprise(self.database)
        with self.database.transaction() as tx:
            job = jobs_at.create(tx, principal)
            key = tx.get_one(File, job.training_file_id).key
            (claimed,) = jobs.claim(tx, limit=1)
        text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
        await self.store.put(key, text.encode())
        run = await FineTuneRun.begin(
            self.here, job_id=claimed.id, attempt=1, flow_run_id="run", stop_signal=StopSignal()
        )
        assert run is not None
        try:
            await beside(fine_tune_files._walk(run), run.heart())
        except LeaseLost:
            assert await run.is_done()
        return await run.refresh()


@pytest.fixture
def files(
    database: Database,
    store: LocalStore,
    tmp_path: Path,
    reading: ChildPool,
    monkeypatch: pytest.MonkeyPatch,
) -> Files:
    """Jobs' files, read by plain functions that show nothing: there is no Prefect."""

    async def show_nothing(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(fine_tune_files, "show_markdown", show_nothing)
    monkeypatch.setattr(fine_tune_files, "validate", fine_tune_files.validate.fn)
    return Files(database, store, tmp_path, reading)


async def test_good_files_are_tokens_and_numbers_and_the_training_is_queued(
    files: Files, store: LocalStore, tmp_path: Path
) -> None:
    job = await files.read(*[EXAMPLE] * 20)
    assert job.status == "queued"
    assert job.hyperparameters is not None
    assert job.hyperparameters["micro_tokens"] > 0
    assert job.total_steps == job.hyperparameters["n_epochs"] * 10
    assert job.estimate is not None
    assert job.estimate["examples"] == 20
    key = keys.fine_tuning_tokens(job.organization_id, job.id, "train")
    async with store.local_copy(key, tmp_path) as tokens:
        assert len(TokenFile(tokens)) == 20
    with files.database.read() as tx:
        assert jobs_at.queue_of(tx, job.id, JobKind.FINE_TUNE_FILES).status is JobStatus.DONE
        assert jobs_at.queue_of(tx, job.id, JobKind.FINE_TUNE).status is JobStatus.QUEUED


async def test_a_bad_example_fails_the_job_and_the_report_has_them_all(
    files: Files, store: LocalStore
) -> None:
    job = await files.read(*[EXAMPLE] * 12, "{", {"prompt": "how"})
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == ("invalid_training_file", "training_file")
    assert "Line 13" in job.error["message"]
    with files.database.read() as tx:
        report = tx.exec(select(File).where(File.id == job.report_file_id)).one()
    lines = (await store.get(report.key, size_max=10_000)).splitlines()
    assert [json.loads(line)["line"] for line in lines] == [13, 14]


async def test_too_few_examples_fail_the_job_in_openais_words(files: Files) -> None:
    job = await files.read(*[EXAMPLE] * 9)
    assert job.error == {
        "code": "invalid_n_examples",
        "message": "Training file has 9 example(s), but must have at least 10 examples",
        "param": "training_file",
    }


async def test_what_no_gpu_can_hold_is_refused_with_its_numbers_before_one_is_taken(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "read_shape", lambda _: HUGE)
    job = await files.read(*[EXAMPLE] * 20)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error["code"] == "insufficient_memory"
    assert job.estimate is not None
    assert job.estimate["memory_needed_bytes"] > job.estimate["memory_available_bytes"]
    with files.database.read() as tx:
        assert jobs.lock(tx, resource_id=job.id, kind=JobKind.FINE_TUNE) is None
