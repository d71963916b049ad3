"""Synchronous requests by the official client, over sockets, to an engine that does what a test tells it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from aiohttp import web
from sqlmodel import delete, select

from api.sandbox import admission
from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.engines.model import Engine, EngineAdapter, EngineStatus, SandboxDemand
from orchestrator.metering.model import Usage
from orchestrator.organizations.model import Project
from tests.contracts.conftest import ServedYard
from tests.factories import make_adapter, make_engine
from tests.fakes import Script, ScriptedEngine, scripted_engine

pytestmark = pytest.mark.server

MODEL = "yard-smoke"
QUESTION: list[Any] = [{"role": "user", "content": "Hi"}]
DEADLINE_SECONDS = 10.0
WORDS = ("Hel", "lo")


@pytest.fixture
async def client(enterprise_yard: ServedYard) -> AsyncIterator[openai.AsyncOpenAI]:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=f"{enterprise_yard.url}/v1", api_key=enterprise_yard.key, max_retries=0, http_client=http
    ) as client:
        yield client


@contextmanager
def warm(database: Database, engine: ScriptedEngine, *, lora: bool = False) -> Iterator[str]:
    """Its row, as of an engine that answers; the id."""
    with database.transaction() as tx:
        url = engine.target(1).url
        row = make_engine(tx, model=MODEL, status=EngineStatus.READY, url=url, lora=lora)
        engine_id = row.id
    yield engine_id
    with database.transaction() as tx:
        tx.execute(delete(EngineAdapter))
        tx.execute(delete(Engine))


def streaming(go_on: asyncio.Event) -> Script:
    """One word, and the next once it may go on, with counts as vLLM gives them."""

    async def script(
        engine: ScriptedEngine, request: web.Request, body: dict[str, Any]
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await answer.prepare(request)
        for number, word in enumerate(WORDS, start=1):
            counts = {"prompt_tokens": 9, "completion_tokens": number}
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            data = web.json_response(chunk | {"choices": [choice], "usage": counts}).body
            assert isinstance(data, bytes)
            await answer.write(b"data: " + data + b"\n\n")
            await go_on.wait()
        await answer.write(b"data: [DONE]\n\n")
        return answer

    return script


async def never(engine: ScriptedEngine, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def charged(yard: ServedYard) -> list[tuple[int, int]]:
    """Input and output tokens of each charge to the yard's project."""
    with yard.database.read() as tx:
        found = tx.exec(select(Usage).where(Usage.project_id == yard.project_id).order_by(Usage.at))
        return [(row.input_tokens, row.output_tokens) for row in found]


async def test_a_stream_arrives_while_it_is_written(
    client: openai.AsyncOpenAI, enterprise_yard: ServedYard
) -> None:
    go_on = asyncio.Event()
    async with scripted_engine(streaming(go_on)) as engine:
        with warm(enterprise_yard.database, engine):
            said = []
            async for chunk in await client.chat.completions.create(
                model=MODEL, messages=QUESTION, stream=True
            ):
                said.append(chunk.choices[0].delta.content)
                assert chunk.usage is None
                go_on.set()  # the engine ends only after its first word has arrived
            assert said == list(WORDS)
            await until(lambda: charged(enterprise_yard) == [(9, 2)])


async def test_who_hangs_up_ends_the_request_and_is_charged_what_was_counted(
    client: openai.AsyncOpenAI, enterprise_yard: ServedYard
) -> None:
    async with scripted_engine(streaming(asyncio.Event())) as engine:
        with warm(enterprise_yard.database, engine):
            stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
            assert (await anext(aiter(stream))).choices[0].delta.content == WORDS[0]
            await stream.close()
            await until(lambda: engine.aborted == 1)
            await until(lambda: charged(enterprise_yard) == [(9, 1)])


async def test_who_hangs_up_before_any_answer_is_charged_nothing(
    client: openai.AsyncOpenAI, enterprise_yard: ServedYard
) -> None:
    async with scripted_engine(never) as engine:
        with warm(enterprise_yard.database, engine):
            with pytest.raises(openai.APITimeoutError):
                await client.chat.completions.create(model=MODEL, messages=QUESTION, timeout=0.3)
            await until(lambda: engine.aborted == 1)
            assert charged(enterprise_yard) == []


async def test_an_engine_that_dies_in_a_stream_is_told_of_and_free(
    client: openai.AsyncOpenAI, enterprise_yard: ServedYard
) -> None:
    async with scripted_engine(streaming(asyncio.Event())) as engine:
        with warm(enterprise_yard.database, engine):
            stream = await client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
            events = aiter(stream)
            await anext(events)
            engine.cut()
            with pytest.raises(openai.APIError, match="The engine ended while it answered"):
                await anext(events)
            assert charged(enterprise_yard) == []


async def test_a_request_waits_for_its_adapter_to_be_loaded(
    client: openai.AsyncOpenAI, enterprise_yard: ServedYard
) -> None:
    database = enterprise_yard.database
    with database.transaction() as tx:
        project = tx.get_one(Project, enterprise_yard.project_id)
        adapter = make_adapter(tx, project=project).id
    async with scripted_engine() as engine:
        with warm(database, engine, lora=True) as engine_id:
            asked = asyncio.create_task(client.chat.completions.create(model=adapter, messages=QUESTION))

            def wanted() -> bool:
                with database.read() as tx:
                    return bool(tx.exec(select(SandboxDemand).where(SandboxDemand.model == adapter)).first())

            await until(wanted)
            assert not engine.bodies
            now = clock.now()
            with database.transaction() as tx:
                tx.add(EngineAdapter(engine_id=engine_id, adapter_id=adapter, wanted_at=now, loaded_at=now))
            assert (await asked).choices[0].message.content == "Hi"
            assert adapter.encode() in engine.bodies[0]


async def test_an_adapter_that_does_not_come_or_is_refused_says_so(
    client: openai.AsyncOpenAI, enterprise_yard: ServedYard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "LOADING_SECONDS_MAX", 0.0)
    database = enterprise_yard.database
    with database.transaction() as tx:
        project = tx.get_one(Project, enterprise_yard.project_id)
        adapter = make_adapter(tx, project=project).id
    async with scripted_engine() as engine:
        with warm(database, engine, lora=True) as engine_id:
            with pytest.raises(openai.InternalServerError, match="is being loaded") as late:
                await client.chat.completions.create(model=adapter, messages=QUESTION)
            assert (late.value.status_code, late.value.response.headers["retry-after"]) == (503, "2")
            with database.transaction() as tx:
                row = EngineAdapter(engine_id=engine_id, adapter_id=adapter, wanted_at=clock.now())
                row.failure = "rank 64 is too large"
                tx.add(row)
            with pytest.raises(openai.InternalServerError, match="rank 64 is too large"):
                await client.chat.completions.create(model=adapter, messages=QUESTION)
