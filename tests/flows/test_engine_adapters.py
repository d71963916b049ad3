"""Adapters on one engine, against rows in a real Postgres, a store, and a server that speaks as vLLM does."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlmodel import Session, select

from flows.composition import Yard
from flows.engine_adapters import keep_adapters, review
from orchestrator import clock
from orchestrator.adapters import service as adapters
from orchestrator.adapters.model import CHANNEL, Adapter
from orchestrator.adapters.store import put_adapter
from orchestrator.batches import sharing
from orchestrator.child_pool import ChildPool
from orchestrator.database.session import Database, notify
from orchestrator.engines import service as engines
from orchestrator.engines.model import BatchDemand, EngineAdapter, EngineStatus
from orchestrator.entitlements.tiers import Tiers
from orchestrator.models.registry import Registry
from orchestrator.organizations.model import Project
from orchestrator.settings import Settings
from orchestrator.storage.local import LocalStore
from tests.adapter_files import make_adapter as make_files
from tests.factories import make_adapter, make_batch, make_engine, make_project
from workers.inference.server import EngineServer, EngineSpec

BASE = "yard-smoke"
SHAPE = '{"num_hidden_layers": 1, "intermediate_size": 4, "hidden_size": 2}'
LONG_AGO = timedelta(days=1)
DEADLINE_SECONDS = 10.0


class AdapterEngine:
    """Loads, unloads and lists names; refuses those in `refuses`."""

    def __init__(self) -> None:
        self.loaded: dict[str, Path] = {}
        self.refuses: set[str] = set()
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        self.http = TestServer(app)

    async def _list(self, request: web.Request) -> web.Response:
        models = [{"id": BASE, "parent": None}, *({"id": name, "parent": BASE} for name in self.loaded)]
        return web.json_response({"data": models})

    async def _load(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["lora_name"] in self.refuses:
            return web.json_response({"error": {"message": "rank 64 is too large"}}, status=500)
        assert (Path(asked["lora_path"]) / "adapter_model.safetensors").exists()
        self.loaded[asked["lora_name"]] = Path(asked["lora_path"])
        return web.Response(text="Success")

    async def _unload(self, request: web.Request) -> web.Response:
        found = self.loaded.pop((await request.json())["lora_name"], None)
        return web.Response(status=404 if found is None else 200)


class Scene:
    """One engine with room for two adapters, and what a test does around it."""

    def __init__(self, here: Yard, engine: AdapterEngine, server: EngineServer, folder: Path) -> None:
        self.here, self.engine, self.server, self.folder = here, engine, server, folder
        with here.database.transaction() as tx:
            self.project = make_project(tx)
            row = make_engine(tx, model=BASE, status=EngineStatus.READY, lora=True, url=server.url)
            self.engine_id = row.id

    async def adapter(self, *, age: timedelta = LONG_AGO, stored: bool = True) -> str:
        """A new adapter's name."""
        number = len(list(self.folder.glob("made-*")))
        files = make_files(self.folder / f"made-{number}", self.folder, seed=number, rank=1)
        organization = self.project.organization_id
        source, card = f"ft_{number}", {"base_model": BASE}
        kept = await put_adapter(self.here.store, organization, source, files, card) if stored else None
        with self.here.database.transaction() as tx:
            columns = {"digest": kept.digest, "key_prefix": kept.key_prefix} if kept else {}
            project = tx.get_one(Project, self.project.id)
            return make_adapter(tx, project=project, created_at=clock.now() - age, **columns).id

    def want(self, *names: str, priority: int = 20) -> str:
        """A batch that has lines for each."""
        now = clock.now()
        with self.here.database.transaction() as tx:
            batch = make_batch(tx)
            for name in names:
                tx.add(
                    BatchDemand(
                        batch_id=batch.id,
                        organization_id=batch.organization_id,
                        model=name,
                        base=BASE,
                        lines=5,
                        weight=1.0,
                        priority=priority,
                        since=now,
                        heartbeat_at=now,
                    )
                )
            notify(tx, CHANNEL)
        return batch.id

    def end(self, batch_id: str) -> None:
        self.change(lambda tx: sharing.end_demand(tx, batch_id))

    def change(self, write: Callable[[Session], object]) -> None:
        with self.here.database.transaction() as tx:
            write(tx)

    def rows(self) -> dict[str, EngineAdapter]:
        with self.here.database.read() as tx:
            return {row.adapter_id: row for row in tx.exec(select(EngineAdapter))}

    def usable(self) -> set[str]:
        return {name for name, row in self.rows().items() if row.loaded_at is not None}

    async def review(self) -> None:
        await review(self.here, self.engine_id, self.server, loaded_max=2)
        assert self.usable() == self.engine.loaded.keys()


@pytest.fixture
async def scene(database: Database, store: LocalStore, tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "config.json").write_text(SHAPE)
    settings = Settings(home=tmp_path)
    here = Yard(
        settings=settings,
        database=database,
        store=store,
        tiers=Tiers.load(None),
        registry=Registry.load(None, home=tmp_path),
        preparations=ChildPool(),
        datasets=ChildPool(),
        scratch=tmp_path,
    )
    engine = AdapterEngine()
    await engine.http.start_server()
    spec = EngineSpec(
        id="eng",
        model=BASE,
        source="",
        python=tmp_path,
        host="127.0.0.1",
        api_key=None,
        context_length=1,
        max_num_seqs=1,
        flags=[],
        cuda=False,
        log=tmp_path / "log",
        environment={},
    )
    server = EngineServer(spec)
    server.url = f"http://127.0.0.1:{engine.http.port}"
    yield Scene(here, engine, server, tmp_path)
    await engine.http.close()


async def test_a_wanted_adapter_is_brought_and_loaded(scene: Scene) -> None:
    name = await scene.adapter()
    scene.want(name)
    await scene.review()
    assert scene.usable() == {name}
    assert scene.engine.loaded[name].parent == scene.folder / "cache" / "adapters"


async def test_an_idle_adapter_stays_until_another_needs_its_room(scene: Scene) -> None:
    first, second, third = [await scene.adapter() for _ in range(3)]
    batch = scene.want(first)
    await scene.review()
    scene.end(batch)
    scene.want(second)
    await scene.review()
    assert scene.usable() == {first, second}
    scene.want(third)
    await scene.review()
    assert scene.usable() == {second, third}


async def test_more_wanted_than_fit_take_turns(scene: Scene) -> None:
    names = [await scene.adapter() for _ in range(3)]
    scene.want(*names)
    await scene.review()
    before = scene.usable()
    assert len(before) == 2

    def age(tx: Session) -> None:
        for row in tx.exec(select(EngineAdapter)):
            row.loaded_at = row.loaded_at and row.loaded_at - timedelta(seconds=61)

    scene.change(age)
    await scene.review()
    assert set(names) - before <= scene.usable()
    assert scene.rows().keys() == set(names)


async def test_a_refused_adapter_says_why_and_is_tried_again_for_the_next_batch(scene: Scene) -> None:
    name = await scene.adapter()
    scene.engine.refuses = {name}
    batch = scene.want(name)
    await scene.review()
    assert scene.rows()[name].failure == "rank 64 is too large"
    scene.end(batch)
    await scene.review()
    assert not scene.rows()
    scene.engine.refuses = set()
    scene.want(name)
    await scene.review()
    assert scene.usable() == {name}


async def test_an_adapter_whose_files_are_gone_is_refused(scene: Scene) -> None:
    name = await scene.adapter(stored=False)
    scene.want(name)
    await scene.review()
    assert scene.rows()[name].failure


async def test_a_deleted_adapter_leaves_once_nobody_wants_it(scene: Scene) -> None:
    name = await scene.adapter()
    batch = scene.want(name)
    await scene.review()
    organization = scene.project.organization_id
    scene.change(lambda tx: adapters.delete(tx, organization_id=organization, adapter_id=name))
    await scene.review()
    assert scene.usable() == {name}
    scene.end(batch)
    await scene.review()
    assert not scene.rows()


async def test_a_new_adapter_is_loaded_before_anybody_asks_while_there_is_room(scene: Scene) -> None:
    names = [await scene.adapter(age=timedelta(seconds=age)) for age in (30, 20, 10)]
    await scene.review()
    assert scene.usable() == set(names[1:])


async def test_what_the_engine_has_without_a_row_is_taken_from_it(scene: Scene) -> None:
    scene.engine.loaded["ft:yard-smoke:acme::left"] = scene.folder
    name = await scene.adapter()
    scene.want(name)
    await scene.review()
    assert scene.engine.loaded.keys() == {name}


async def test_an_adapter_is_loaded_within_a_moment_of_being_wanted(scene: Scene) -> None:
    name = await scene.adapter()
    keeping = asyncio.create_task(keep_adapters(scene.here, scene.engine_id, scene.server, 2))
    try:
        other = await scene.adapter(age=timedelta(0))
        await until(lambda: other in scene.usable())  # it listens
        began = time.monotonic()
        scene.want(name)
        await until(lambda: name in scene.usable())
        assert time.monotonic() - began < 1.0
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


async def test_an_engine_that_ends_has_no_adapters(scene: Scene) -> None:
    name = await scene.adapter()
    scene.want(name)
    await scene.review()
    scene.change(lambda tx: engines.died(tx, engines.heartbeat(tx, scene.engine_id), last_words="gone"))
    assert not scene.rows()
    with scene.here.database.read() as tx:
        assert tx.get(Adapter, name) is not None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)
