"""Real drives against scripted engines over real HTTP, with segments in a real store."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest
from aiohttp import web

from orchestrator.batches import segments as segments_module
from orchestrator.batches.merge import merge
from orchestrator.batches.result_lines import Kind
from orchestrator.errors import LeaseLost
from tests.batch_files import chat_line
from tests.fakes import ScriptedEngine, completion, echo
from tests.workers.inference.bench import bench, hang, lines, said, short_waits, start, until
from workers.inference import drive as drive_module
from workers.inference.drive import Orders, Target

__all__ = ["bench", "short_waits", "start"]


async def test_every_line_has_its_answer_in_the_order_of_the_input(bench, start) -> None:
    engine = await start()
    await bench.of(*lines(100)).drive(engine.target(8), flush_lines=7)
    output, error = await bench.files()
    assert [line["custom_id"] for line in output] == [f"line-{number}" for number in range(100)]
    assert await bench.contents() == said(100)
    assert error == []
    assert len({line["id"] for line in output}) == 100
    assert output[0]["response"]["status_code"] == 200
    assert output[0]["error"] is None
    assert len(bench.shelf.adopted) > 1


async def test_a_body_reaches_the_engine_byte_for_byte_and_so_does_the_answer_the_file(bench, start) -> None:
    answer = b'{"choices": [ ],  "x":1.50, "t":"\\u00e9 \xc3\xa9","usage":{"prompt_tokens":1}}'

    async def exact(engine, request, body) -> web.Response:
        return web.Response(body=answer, content_type="application/json")

    engine = await start(exact)
    line = chat_line(0, temperature=0.10, note="ünï")
    await bench.of(line).drive(engine.target(1))
    assert engine.bodies == [json.dumps(line["body"], ensure_ascii=False).encode()]
    assert b'"body":' + answer + b"}" in b"".join(
        [p async for p in merge(Kind.OUTPUT, await bench.results(), bench.copy)]
    )


async def test_no_more_lines_are_in_flight_than_there_are_slots(bench, start) -> None:
    async def slowly(engine, request, body) -> web.Response:
        await asyncio.sleep(0.005)
        return await echo(engine, request, body)

    engines = [await start(slowly), await start(slowly)]
    await bench.of(*lines(60)).drive(engines[0].target(4), engines[1].target(2))
    assert (engines[0].in_flight_max, engines[1].in_flight_max) == (4, 2)
    assert await bench.contents() == said(60)


async def test_each_model_has_engines_of_its_own(bench, start) -> None:
    a, b = await start(), await start()
    bench.of(*(chat_line(n, model="ab"[n % 2]) for n in range(10)))
    bench.orders.retarget({"a": [a.target(2)], "b": [b.target(2)]})
    await bench.drive()
    assert {json.loads(body)["model"] for body in a.bodies} == {"a"}
    assert {json.loads(body)["model"] for body in b.bodies} == {"b"}
    assert bench.orders.remaining == {"a": 0, "b": 0}
    used = {model: u["lines"] for info in bench.shelf.adopted for model, u in info.usage.items()}
    assert used == {"a": 5, "b": 5}


async def test_usage_is_summed_for_each_model(bench, start) -> None:
    async def detailed(engine, request, body) -> web.Response:
        if body["messages"][-1]["content"] == "say 0":
            return web.json_response({"error": {"message": "no"}}, status=400)
        details = {"prompt_tokens_details": {"cached_tokens": 4}}
        reasoning = {"completion_tokens_details": {"reasoning_tokens": 2}}
        return web.json_response(completion("x", **details, **reasoning))

    engine = await start(detailed)
    await bench.of(*lines(11)).drive(engine.target(3))
    (info,) = bench.shelf.adopted
    assert (info.completed, info.failed) == (10, 1)
    assert info.usage == {
        "m": {
            "lines": 10,
            "input_tokens": 70,
            "cached_tokens": 40,
            "output_tokens": 30,
            "reasoning_tokens": 20,
        }
    }


async def test_new_orders_are_followed_while_lines_are_in_flight(bench, start) -> None:
    gate = asyncio.Event()

    async def gated(engine, request, body) -> web.Response:
        await gate.wait()
        return await echo(engine, request, body)

    first, second = await start(gated), await start(gated)
    driving = asyncio.create_task(bench.of(*lines(30)).drive())
    bench.orders.retarget({"m": [first.target(2)]})
    await until(lambda: first.in_flight == 2)
    bench.orders.retarget({"m": [first.target(5), second.target(3)]})
    await until(lambda: (first.in_flight, second.in_flight) == (5, 3))
    bench.orders.retarget({"m": [second.target(1)]})
    gate.set()
    await driving
    assert (first.in_flight_max, second.in_flight_max) == (5, 3)
    assert sum(first.seen.values()) == 5
    assert await bench.contents() == said(30)


async def test_lines_of_an_engine_that_dies_are_sent_elsewhere(bench, start) -> None:
    doomed, other = await start(hang), await start()
    driving = asyncio.create_task(bench.of(*lines(20)).drive(doomed.target(6), other.target(2)))
    await until(lambda: doomed.in_flight == 6 and sum(other.seen.values()) == 14)
    await doomed.die()
    await driving
    assert await bench.contents() == said(20)
    assert await bench.errors() == {}


async def test_a_line_that_kills_engines_gets_an_error_line_and_the_others_an_answer(bench, start) -> None:
    async def fragile(engine: ScriptedEngine, request, body) -> web.Response:
        if body["messages"][-1]["content"] == "say 3":
            await engine.die()
        await asyncio.sleep(0.002)
        return await echo(engine, request, body)

    engines = [await start(fragile) for _ in range(4)]
    await bench.of(*lines(40)).drive(*(engine.target(8) for engine in engines))
    assert await bench.errors() == {"line-3": "engine_failed"}
    assert await bench.contents() == [text for text in said(40) if text != "say 3"]


async def test_a_line_that_always_kills_what_is_behind_one_address_is_given_up(bench, start) -> None:
    async def fragile(engine: ScriptedEngine, request, body) -> web.Response:
        if body["messages"][-1]["content"] == "say 3":
            engine.cut()
        await asyncio.sleep(0.002)
        return await echo(engine, request, body)

    fleet = await start(fragile)
    await bench.of(*lines(40)).drive(fleet.target(8))
    assert await bench.errors() == {"line-3": "engine_failed"}
    assert fleet.seen["say 3"] == drive_module.LOSSES_MAX


async def test_an_engine_that_was_ended_on_purpose_is_held_against_no_line(bench, start) -> None:
    bench.of(*lines(1))
    driving = asyncio.create_task(bench.drive())
    for _ in range(drive_module.ENGINES_LOST_MAX + 1):
        engine = await start(hang)
        bench.orders.retarget({"m": [engine.target(1)]})
        await until(lambda engine=engine: engine.in_flight == 1)
        bench.orders.retarget({})
        await asyncio.sleep(0)
        await engine.die()
    last = await start()
    bench.orders.retarget({"m": [last.target(1)]})
    await driving
    assert await bench.contents() == ["say 0"]


async def test_an_engine_that_is_busy_is_asked_again_later(bench, start) -> None:
    async def busy_at_first(engine: ScriptedEngine, request, body) -> web.Response:
        if sum(engine.seen.values()) <= 6:
            status = 429 if sum(engine.seen.values()) % 2 else 503
            return web.Response(status=status, headers={"Retry-After": "0.01"})
        return await echo(engine, request, body)

    engine = await start(busy_at_first)
    await bench.of(*lines(10)).drive(engine.target(4))
    assert await bench.contents() == said(10)


async def test_a_5xx_is_tried_again_and_in_the_end_told(bench, start) -> None:
    body_500 = {"error": {"message": "boom", "type": "server_error", "param": None, "code": None}}

    async def unwell(engine: ScriptedEngine, request, body) -> web.Response:
        text = body["messages"][-1]["content"]
        if text == "say 1" or (text == "say 2" and engine.seen[text] == 1):
            return web.json_response(body_500, status=500)
        return await echo(engine, request, body)

    engine = await start(unwell)
    await bench.of(*lines(3)).drive(engine.target(2))
    _, (error,) = await bench.files()
    assert error["custom_id"] == "line-1"
    assert error["response"]["status_code"] == 500
    assert error["response"]["body"] == body_500
    assert error["error"] is None
    assert engine.seen["say 1"] == 1 + drive_module.RESENDS_MAX
    assert engine.seen["say 2"] == 2
    assert await bench.contents() == ["say 0", "say 2"]


async def test_a_500_from_an_engine_whose_core_is_dead_costs_the_line_no_resend(bench, start) -> None:
    async def dead(engine, request, body) -> web.Response:
        return web.json_response({"error": {"message": "EngineCore is dead"}}, status=500)

    broken, other = await start(dead, healthy=False), await start()
    await bench.of(*lines(10)).drive(broken.target(10), other.target(1))
    assert await bench.contents() == said(10)


async def test_what_an_engine_refuses_is_in_the_error_file_in_its_own_words(bench, start) -> None:
    refusal = {"error": {"message": "too long", "type": "BadRequestError", "code": 400}}

    async def refuse(engine, request, body) -> web.Response:
        return web.json_response(refusal, status=400)

    engine = await start(refuse)
    await bench.of(*lines(1)).drive(engine.target(1))
    output, (error,) = await bench.files()
    assert output == []
    assert error["response"]["status_code"] == 400
    assert error["response"]["body"] == refusal
    assert error["error"] is None
    assert engine.seen["say 0"] == 1


@pytest.mark.parametrize("answer", [b"<html>", b'{"choices": ["cut o', b'{"x":"\xff"}', b"", b"[]"])
async def test_an_answer_that_is_no_json_object_never_reaches_a_result_file(
    bench, start, answer: bytes
) -> None:
    async def garbage(engine, request, body) -> web.Response:
        return web.Response(body=answer, content_type="application/json")

    engine = await start(garbage)
    await bench.of(*lines(2)).drive(engine.target(2))
    output, errors = await bench.files()
    assert output == []
    assert [e["response"]["status_code"] for e in errors] == [502, 502]
    assert errors[0]["response"]["body"]["error"]["code"] == "invalid_engine_response"


async def test_an_answer_of_several_lines_becomes_one_line(bench, start) -> None:
    async def pretty(engine, request, body) -> web.Response:
        text = json.dumps(completion("two\nlines"), indent=2).replace("\n", "\r\n")
        return web.Response(text=text, content_type="application/json")

    engine = await start(pretty)
    await bench.of(*lines(2)).drive(engine.target(1))
    assert await bench.contents() == ["two\nlines"] * 2


async def test_a_line_without_an_answer_in_time_becomes_an_error_line(bench, start) -> None:
    async def hang_on_one(engine, request, body) -> web.Response:
        script = hang if body["messages"][-1]["content"] == "say 1" else echo
        return await script(engine, request, body)

    engine = await start(hang_on_one)
    await bench.of(*lines(3)).drive(engine.target(1), line_seconds_max=0.3)
    assert await bench.errors() == {"line-1": "request_timeout"}
    assert engine.aborted == 1


async def test_stop_aborts_what_is_in_flight_and_keeps_what_is_done(bench, start) -> None:
    async def some_hang(engine, request, body) -> web.Response:
        script = echo if int(body["messages"][-1]["content"].split()[1]) < 5 else hang
        return await script(engine, request, body)

    engine = await start(some_hang)
    driving = asyncio.create_task(bench.of(*lines(30)).drive(engine.target(4)))
    await until(lambda: bench.orders.remaining.get("m") == 25 and engine.in_flight == 4)
    bench.orders.stop_sending("batch_expired")
    await driving
    await until(lambda: engine.in_flight == 0)
    assert engine.aborted == 4
    assert await bench.contents() == said(5)
    assert await bench.errors() == {f"line-{number}": "batch_expired" for number in range(5, 30)}


async def test_stop_ends_a_drive_that_waits_for_an_engine(bench) -> None:
    driving = asyncio.create_task(bench.of(*lines(3)).drive())
    await asyncio.sleep(0)
    bench.orders.stop_sending("batch_cancelled")
    await driving
    assert bench.shelf.adopted == []


async def test_a_drive_that_lost_its_lease_ends_with_that_and_aborts_its_lines(bench, start) -> None:
    engine = await start()
    bench.shelf.lease_lost_after = 2
    with pytest.raises(LeaseLost):
        await bench.of(*lines(200)).drive(engine.target(4), flush_lines=10)
    assert len(bench.shelf.adopted) == 2
    await until(lambda: engine.in_flight == 0)


async def test_an_engine_that_does_not_know_our_key_is_not_our_engine(bench, start) -> None:
    stranger, ours = await start(api_key="another"), await start(api_key="ours")
    wrong = Target("eng_1", stranger.target(1).url, "ours", 4)
    await bench.of(*lines(8)).drive(wrong, ours.target(1))
    assert stranger.seen.total() == 0
    assert await bench.contents() == said(8)


async def test_a_line_of_megabytes_goes_through(bench, start) -> None:
    engine = await start()
    await bench.of(chat_line(0, pad="x" * 3_000_000)).drive(engine.target(1))
    assert await bench.contents() == ["say 0"]


async def test_a_source_that_changed_after_it_was_indexed_ends_the_drive(bench, start) -> None:
    engine = await start()
    bench.of(*lines(3))
    bench.source.write_bytes(bench.source.read_bytes().replace(b"{", b" "))
    with pytest.raises(ValueError, match="line 1 is not the line that was indexed"):
        await bench.drive(engine.target(1))


async def test_nothing_to_do_is_done_at_once(bench) -> None:
    bench.of(*lines(3))
    bench.index = replace(bench.index, wanted=np.zeros(3, np.bool_))
    await bench.drive()
    assert bench.shelf.adopted == []


async def test_a_resume_after_any_prefix_of_segments_equals_a_full_run(
    bench, start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that is killed leaves a prefix of the segments that it would have had adopted."""

    async def mostly(engine, request, body) -> web.Response:
        number = int(body["messages"][-1]["content"].split()[1])
        if number % 5 == 0:
            return web.json_response({"error": {"message": f"no {number}"}}, status=400)
        return await echo(engine, request, body)

    monkeypatch.setattr(segments_module, "FLUSH_BYTES", 900)  # many small segments, however slow the disk
    monkeypatch.setattr(segments_module, "BUFFER_BYTES_MAX", 900)
    first = await start(mostly)
    await bench.of(*lines(40)).drive(first.target(4), flush_lines=3)
    full_run = list(bench.shelf.adopted)
    assert len(full_run) > 4
    for kept in range(len(full_run) + 1):
        bench.shelf.adopted = full_run[:kept]
        bench.shelf.attempt += 1
        bench.orders = Orders()
        done = {f"say {line}" for line in np.flatnonzero((await bench.results()).kind)}
        engine = await start(mostly)
        await bench.drive(engine.target(3), flush_lines=4)
        output, error = await bench.files()
        assert [o["custom_id"] for o in output] == [f"line-{n}" for n in range(40) if n % 5]
        assert [e["custom_id"] for e in error] == [f"line-{n}" for n in range(0, 40, 5)]
        assert engine.seen.keys() == set(said(40)) - done
        assert engine.seen.total() == 40 - len(done)
