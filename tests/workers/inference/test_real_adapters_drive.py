"""Drives against a real vLLM whose adapters come and go: each line is answered by the model it names."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.batches.line_index import LineIndex
from orchestrator.batches.result_lines import Kind
from orchestrator.batches.segments import ResultMap
from orchestrator.planning import order
from orchestrator.storage.local import LocalStore
from tests.adapter_files import make_adapter
from tests.batch_files import Shelf, chat_line, write_batch
from tests.engine_fixture import API_KEY, MODEL, START_SECONDS_MAX
from workers.inference.client import Target
from workers.inference.drive import Orders, drive
from workers.inference.server import AdapterRoom, EngineServer, EngineSpec

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

NAMES = [f"ft:yard-smoke:acme::{number}" for number in range(4)]
ROOM = AdapterRoom(loaded_max=len(NAMES), rank_max=8)
ROUNDS = 10
DEADLINE_SECONDS = 120.0


def mixed() -> list[dict[str, Any]]:
    """Lines that name the base and the adapters in turn, each round with one question."""
    return [
        chat_line(number, model=model, max_tokens=8, temperature=0)
        for number, model in enumerate([MODEL, *NAMES] * ROUNDS)
    ]


def contents(index: LineIndex, results: ResultMap, data: bytes) -> dict[str, set[str]]:
    """What each model has said."""
    said: dict[str, set[str]] = {}
    for line, model in enumerate(index.model.tolist()):
        start = int(results.offset[line])
        answer = json.loads(data[start : start + int(results.length[line])])
        body = answer["response"]["body"]
        assert body["model"] == index.models[model]
        said.setdefault(index.models[model], set()).add(body["choices"][0]["message"]["content"])
    return said


async def test_a_mixed_batch_outlives_the_eviction_of_an_adapter(
    engine_spec: EngineSpec, smoke_model: Path, store: LocalStore, tmp_path: Path
) -> None:
    folders = [make_adapter(tmp_path / str(n), smoke_model, seed=n) for n in range(len(NAMES))]
    spec = replace(
        engine_spec, lora=ROOM, flags=["--dtype", "float32"], log=tmp_path / "log", sockets=tmp_path / "s"
    )
    server = EngineServer(spec)
    await server.start()
    try:
        await server.wait_ready(START_SECONDS_MAX)
        for name, folder in zip(NAMES[:-1], folders, strict=False):  # the last one is not there
            await server.load_adapter(name, folder)
        shelf, orders = Shelf(store), Orders(adapters=set(NAMES))
        index = write_batch(tmp_path / "input.jsonl", mixed())
        nothing = await ResultMap.scan(store, [], lines=len(index))
        target = Target("eng_1", server.url, API_KEY, 4)
        orders.retarget({model: [target] for model in index.models})
        async with asyncio.timeout(DEADLINE_SECONDS):
            driving = asyncio.create_task(
                drive(
                    source=tmp_path / "input.jsonl",
                    index=index,
                    order=order(index, nothing.todo(index.wanted)),
                    orders=orders,
                    segments=shelf.writer(),
                )
            )
            while sum(orders.remaining.values()) != ROUNDS or not orders.remaining:
                assert not driving.done()
                await asyncio.sleep(0.01)
            await server.load_adapter(NAMES[-1], folders[-1])
            await driving
    finally:
        await server.stop()
    with (tmp_path / "copy").open("wb") as file:
        results = await ResultMap.scan(store, shelf.adopted, lines=len(index), copy=file)
    assert (results.lines(Kind.OUTPUT), results.lines(Kind.ERROR)) == (len(index), 0)
    said = contents(index, results, (tmp_path / "copy").read_bytes())
    assert said.keys() == {MODEL, *NAMES}
    assert all(said[MODEL] != said[name] for name in NAMES)
    used = {model: u["lines"] for info in shelf.adopted for model, u in info.usage.items()}
    assert used.keys() == said.keys()
