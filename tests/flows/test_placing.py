"""The dispatcher's placement against rows in a real Postgres; Prefect is a list of what it was asked for."""

from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.orchestration import PrefectClient
from sqlmodel import Session, col, select

from flows import runs
from flows.composition import Yard
from flows.placing import place_engines
from orchestrator import clock
from orchestrator.child_pool import ChildPool
from orchestrator.database.session import Database
from orchestrator.engines import service as engines
from orchestrator.engines.giving_way import TURN_SECONDS
from orchestrator.engines.model import BatchDemand, Engine, EngineStatus
from orchestrator.entitlements.tiers import Tiers
from orchestrator.fine_tuning.states import FineTuningStatus
from orchestrator.jobs.model import Job, JobKind, JobStatus
from orchestrator.models.registry import Registry
from orchestrator.settings import Settings
from orchestrator.storage.local import LocalStore
from tests.factories import make_adapter, make_batch, make_engine, make_fine_tuning, make_job

BASE = "yard-smoke"
PREFECT = cast(PrefectClient, None)  # `created` stands in its place


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The deployments of the runs that were asked for."""
    deployments: list[str] = []

    async def create_run(client: PrefectClient, *, deployment: str, **rest: Any) -> str:
        deployments.append(deployment)
        return f"run-{len(deployments)}"

    monkeypatch.setattr(runs, "create_run", create_run)
    return deployments


@pytest.fixture
def here(database: Database, store: LocalStore, tmp_path: Path) -> Yard:
    """A yard with one GPU."""
    return Yard(
        settings=Settings(home=tmp_path, gpus=1),
        database=database,
        store=store,
        tiers=Tiers.load(None),
        registry=Registry.load(None, home=tmp_path),
        preparations=ChildPool(),
        datasets=ChildPool(),
        scratch=tmp_path,
    )


def want(tx: Session, model: str = BASE, *, priority: int = 20, waits: float = 1) -> None:
    """A batch has lines for a model, since so many seconds."""
    since = clock.now() - timedelta(seconds=waits)
    batch = make_batch(tx)
    tx.add(
        BatchDemand(
            batch_id=batch.id,
            organization_id=batch.organization_id,
            model=model,
            base=BASE,
            lines=5,
            weight=1.0,
            priority=priority,
            since=since,
            heartbeat_at=clock.now(),
        )
    )


def queue_training(tx: Session, *, priority: int = 20, waits: float = 1) -> str:
    """A training whose files are read; its job's id."""
    since = clock.now() - timedelta(seconds=waits)
    training = make_fine_tuning(tx, status=FineTuningStatus.QUEUED, queued_at=since)
    return make_job(tx, kind=JobKind.FINE_TUNE, resource_id=training.id, priority=priority).id


def ready_engine(tx: Session, *, ready: float = 60, **columns: Any) -> str:
    since = clock.now() - timedelta(seconds=ready)
    return make_engine(tx, status=EngineStatus.READY, ready_at=since, url="http://e", **columns).id


def status_of(here: Yard, engine_id: str) -> EngineStatus:
    with here.database.read() as tx:
        return tx.get_one(Engine, engine_id).status


def end(here: Yard, engine_id: str) -> None:
    with here.database.transaction() as tx:
        engines.ended(tx, engines.heartbeat(tx, engine_id))


def newest_engine(here: Yard) -> Engine:
    with here.database.read() as tx:
        return tx.exec(select(Engine).order_by(col(Engine.created_at).desc())).all()[0]


async def test_a_training_gets_a_free_gpu_and_a_flow_run(here: Yard, created: list[str]) -> None:
    with here.database.transaction() as tx:
        job_id = queue_training(tx)
    await place_engines(here, PREFECT)
    await place_engines(here, PREFECT)
    assert created == ["fine-tune"]
    with here.database.read() as tx:
        job = tx.get_one(Job, job_id)
        assert (job.status, job.flow_run_id) == (JobStatus.DISPATCHED, "run-1")


async def test_an_engine_waits_for_a_training_to_end_and_then_comes_back_with_adapters(
    here: Yard, created: list[str]
) -> None:
    with here.database.transaction() as tx:
        job_id = queue_training(tx, priority=10)
        want(tx, priority=20)
        queue_training(tx, priority=90)
    await place_engines(here, PREFECT)
    assert created == ["fine-tune"]
    with here.database.transaction() as tx:
        job = tx.get_one(Job, job_id)
        job.status, job.lease_token, job.lease_expires_at = JobStatus.DONE, None, None
    await place_engines(here, PREFECT)
    assert created == ["fine-tune", "serve-engine"]
    assert newest_engine(here).lora


async def test_a_busy_engine_is_put_aside_for_a_more_urgent_training(here: Yard, created: list[str]) -> None:
    with here.database.transaction() as tx:
        engine_id = ready_engine(tx)
        want(tx, priority=20)
        queue_training(tx, priority=10)
    await place_engines(here, PREFECT)
    assert status_of(here, engine_id) is EngineStatus.DRAINING
    await place_engines(here, PREFECT)
    assert created == []  # its GPU is still in use
    end(here, engine_id)
    await place_engines(here, PREFECT)
    assert created == ["fine-tune"]


async def test_after_its_turn_an_engine_waits_behind_the_training_it_made_room_for(
    here: Yard, created: list[str]
) -> None:
    with here.database.transaction() as tx:
        engine_id = ready_engine(tx, ready=TURN_SECONDS)
        want(tx, waits=3600)
        queue_training(tx, waits=60)
    await place_engines(here, PREFECT)
    end(here, engine_id)
    await place_engines(here, PREFECT)
    assert created == ["fine-tune"]


async def test_a_batch_that_names_an_adapter_gets_an_engine_that_takes_them(
    here: Yard, created: list[str]
) -> None:
    with here.database.transaction() as tx:
        engine_id = ready_engine(tx)
        want(tx)
        want(tx, make_adapter(tx).id)
    await place_engines(here, PREFECT)
    assert status_of(here, engine_id) is EngineStatus.DRAINING
    end(here, engine_id)
    await place_engines(here, PREFECT)
    assert created == ["serve-engine"]
    assert newest_engine(here).lora
