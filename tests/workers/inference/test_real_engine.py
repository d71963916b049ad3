"""Drives against a real vLLM server with the smoke model."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.batches.result_lines import Kind
from orchestrator.batches.segments import ResultMap
from orchestrator.planning import order
from orchestrator.storage.local import LocalStore
from tests.batch_files import CHAT, Shelf, write_batch
from tests.engine_fixture import MODEL
from workers.inference.client import Answered, EngineClient, EngineGone, Target
from workers.inference.drive import Orders, drive
from workers.inference.server import EngineFailed, EngineServer, EngineSpec

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

CAPITALS = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Egypt": "Cairo"}
DEADLINE_SECONDS = 120.0


def ask(question: str, custom_id: str = "1", **body: object) -> dict[str, object]:
    messages = [{"role": "user", "content": question}]
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": CHAT,
        "body": {"model": MODEL, "messages": messages, "temperature": 0, **body},
    }


async def test_a_batch_is_answered_by_the_model_and_counted_by_the_engine(
    engine_target: Target, store: LocalStore, tmp_path: Path
) -> None:
    countries = list(CAPITALS) * 10
    asked = [
        ask(f"What is the capital of {country}?", str(number), max_tokens=20)
        for number, country in enumerate(countries)
    ]
    asked.append(ask("Too much is asked.", "greedy", max_tokens=100_000))
    source, copy, shelf = tmp_path / "input.jsonl", tmp_path / "copy", Shelf(store)
    index = write_batch(source, asked)
    everything = await ResultMap.scan(store, [], lines=len(index))
    orders = Orders()
    orders.retarget({MODEL: [engine_target]})
    async with asyncio.timeout(DEADLINE_SECONDS):
        await drive(
            source=source,
            index=index,
            order=order(index, everything.todo(index.wanted)),
            orders=orders,
            segments=shelf.writer(),
        )
    with copy.open("wb") as file:
        results = await ResultMap.scan(store, shelf.adopted, lines=len(index), copy=file)
    assert (results.lines(Kind.OUTPUT), results.lines(Kind.ERROR)) == (40, 1)
    data = copy.read_bytes()
    tokens = 0
    for line, country in enumerate(countries):
        start = int(results.offset[line])
        answer = json.loads(data[start : start + int(results.length[line])])
        assert answer["custom_id"] == str(line)
        body = answer["response"]["body"]
        assert CAPITALS[country] in body["choices"][0]["message"]["content"]
        tokens += body["usage"]["completion_tokens"]
    used = [info.usage[MODEL] for info in shelf.adopted if MODEL in info.usage]
    assert sum(usage["output_tokens"] for usage in used) == tokens
    assert sum(usage["lines"] for usage in used) == 40


async def test_the_engine_says_how_much_of_a_prompt_it_had_cached(engine_target: Target) -> None:
    body = json.dumps(ask("Reverse the words: " + "one two three four five six " * 60)["body"])
    async with EngineClient() as client:
        for _ in range(2):
            outcome = await client.post(engine_target, CHAT, body.encode(), "req_1")
    assert isinstance(outcome, Answered)
    assert 0 < outcome.usage.cached_tokens <= outcome.usage.input_tokens


async def test_the_engine_asks_for_its_key(engine_target: Target) -> None:
    body = json.dumps(ask("What is 1 + 1?")["body"]).encode()
    async with EngineClient() as client:
        stranger = replace(engine_target, api_key="guessed")
        assert await client.post(stranger, CHAT, body, "req_1") == EngineGone(sent=False)


async def test_a_cancelled_request_is_dropped_by_the_engine(
    engine_server: EngineServer, engine_target: Target
) -> None:
    endless = ask("Repeat: alpha", max_tokens=900, min_tokens=900, ignore_eos=True)
    body = json.dumps(endless["body"]).encode()
    async with asyncio.timeout(DEADLINE_SECONDS), EngineClient() as client:
        posts = [
            asyncio.create_task(client.post(engine_target, CHAT, body, f"req_{number}"))
            for number in range(16)
        ]
        while await engine_server.requests_in_flight() < len(posts):
            await asyncio.sleep(0.01)
        for post in posts:
            post.cancel()
        while await engine_server.requests_in_flight() > 0:
            assert not any(post.done() and not post.cancelled() for post in posts)
            await asyncio.sleep(0.01)


async def test_an_engine_that_cannot_start_says_why(engine_spec: EngineSpec, tmp_path: Path) -> None:
    server = EngineServer(replace(engine_spec, flags=["--dtype", "no"], log=tmp_path / "log"))
    await server.start()
    try:
        with pytest.raises(EngineFailed, match="--dtype"):
            await server.wait_ready(DEADLINE_SECONDS)
    finally:
        await server.stop()
