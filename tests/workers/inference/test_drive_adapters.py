"""Drives of lines that name adapters: loaded, evicted and refused by scripted engines."""

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.batch_files import chat_line
from tests.fakes import ScriptedEngine, echo
from tests.workers.inference.bench import Bench, bench, lines, said, short_waits, start, until

__all__ = ["bench", "short_waits", "start"]

NO_SUCH_MODEL = {"error": {"message": "The model `ft` does not exist.", "param": "model", "code": 404}}


async def evicted(engine: ScriptedEngine, request: web.Request, body: dict[str, Any]) -> web.Response:
    """As vLLM answers a name that is not loaded."""
    return web.json_response(NO_SUCH_MODEL, status=404)


def mixed(count: int) -> list[dict[str, Any]]:
    """Lines that name the base, two adapters, the base, and so on."""
    return [chat_line(n, model=("m", "ft:m:acme::a", "ft:m:acme::b")[n % 3]) for n in range(count)]


def adapters_of(bench: Bench) -> None:
    bench.orders.adapters = {"ft:m:acme::a", "ft:m:acme::b"}


async def test_lines_of_an_evicted_adapter_wait_for_it_while_the_others_flow(bench, start) -> None:
    loaded = {"ft:m:acme::a", "m"}

    async def serve(engine: ScriptedEngine, request, body) -> web.Response:
        if body["model"] not in loaded:
            return await evicted(engine, request, body)
        return await echo(engine, request, body)

    engine = await start(serve)
    bench.of(*mixed(30))
    adapters_of(bench)
    bench.orders.retarget({model: [engine.target(4)] for model in bench.index.models})
    driving = asyncio.create_task(bench.drive())
    await until(lambda: sum(bench.orders.remaining.values()) == 10 and engine.seen.total() > 30)
    loaded.add("ft:m:acme::b")
    await driving
    assert await bench.errors() == {}
    assert await bench.contents() == said(30)


async def test_an_engine_without_the_adapter_is_not_asked_for_it_again_at_once(bench, start) -> None:
    engine = await start(evicted)
    bench.of(*(chat_line(n, model="ft:m:acme::a") for n in range(50)))
    adapters_of(bench)
    bench.orders.retarget({"ft:m:acme::a": [engine.target(2)]})
    driving = asyncio.create_task(bench.drive())
    await until(lambda: engine.seen.total() >= 6)
    assert engine.in_flight_max <= 2
    other = await start()
    bench.orders.retarget({"ft:m:acme::a": [other.target(8)]})
    await driving
    assert await bench.contents() == said(50)


async def test_a_base_model_that_an_engine_does_not_have_is_told_in_its_words(bench, start) -> None:
    engine = await start(evicted)
    await bench.of(*lines(2)).drive(engine.target(2))
    assert await bench.errors() == {"line-0": 404, "line-1": 404}


async def test_a_404_about_anything_else_is_the_answer_of_an_adapter_too(bench, start) -> None:
    async def no_such_response(engine, request, body) -> web.Response:
        error = {"message": "Response with id 'resp_1' not found.", "param": "response_id"}
        return web.json_response({"error": error}, status=404)

    engine = await start(no_such_response)
    bench.of(chat_line(0, model="ft:m:acme::a"))
    adapters_of(bench)
    await bench.drive(engine.target(1), model="ft:m:acme::a")
    assert await bench.errors() == {"line-0": 404}


async def test_lines_of_a_model_that_no_engine_takes_fail_with_the_reason_and_the_rest_completes(
    bench, start
) -> None:
    engine = await start()
    bench.of(*mixed(30))
    adapters_of(bench)
    bench.orders.refused["ft:m:acme::b"] = "the engine says: its rank is too large"
    bench.orders.retarget({"m": [engine.target(4)], "ft:m:acme::a": [engine.target(4)]})
    await bench.drive()
    assert await bench.errors() == {f"line-{n}": "model_unavailable" for n in range(2, 30, 3)}
    _, errors = await bench.files()
    assert errors[0]["error"]["message"] == "the engine says: its rank is too large"
    assert await bench.contents() == [f"say {n}" for n in range(30) if n % 3 != 2]


async def test_a_refusal_that_comes_while_lines_are_in_flight_lets_those_finish(bench, start) -> None:
    gate = asyncio.Event()

    async def gated(engine, request, body) -> web.Response:
        await gate.wait()
        return await echo(engine, request, body)

    engine = await start(gated)
    bench.of(*(chat_line(n, model="ft:m:acme::a") for n in range(10)))
    adapters_of(bench)
    bench.orders.retarget({"ft:m:acme::a": [engine.target(3)]})
    driving = asyncio.create_task(bench.drive())
    await until(lambda: engine.in_flight == 3)
    bench.orders.refused["ft:m:acme::a"] = "no"
    bench.orders.retarget({})
    await until(lambda: bench.orders.remaining["ft:m:acme::a"] == 3)
    gate.set()
    await driving
    assert await bench.contents() == said(3)


async def test_a_batch_of_twenty_adapters_over_one_base_runs_on_one_engine(bench, start) -> None:
    names = [f"ft:m:acme::{n}" for n in range(20)]
    engine = await start()
    bench.of(*(chat_line(n, model=names[n % 20]) for n in range(200)))
    bench.orders.adapters = set(names)
    bench.orders.retarget({name: [engine.target(1)] for name in names})
    await bench.drive()
    assert await bench.contents() == said(200)
    assert {json.loads(body)["model"] for body in engine.bodies} == set(names)
    assert engine.in_flight_max <= 20
