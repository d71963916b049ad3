"""A synchronous request at an engine that a batch fills: with vLLM's priorities, as our engines run, and in
order of arrival; and what either order makes of the batch."""

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

import httpx

from orchestrator.batches.sharing import FILL
from tests.benchmarks.lines import OUTPUT_TOKENS, equal_lines, model
from tests.benchmarks.run_batch import engine_spec
from tests.benchmarks.table import Table
from tests.customer import CHAT, Line
from workers.inference.client import Answered, EngineClient, Target
from workers.inference.server import EngineServer

ROUNDS = ("fcfs", "priority", "priority", "fcfs")  # so that neither has the better moment
LINES, LINES_QUICK = 1_500, 200
START_SECONDS_MAX = 300.0
LENGTHS = (8, 120)  # evenly, so that places get free one by one
PAUSE_SECONDS = 0.25  # between two synchronous requests
IDLE_REQUESTS = 5
REQUEST_SECONDS_MAX = 120.0
FIRST, SECOND = "without", "with"

NOTES = f"""\
One engine of the smoke model at a time, with as many lines in flight as a driver keeps there, {FILL:.0f} for
each place: first of {OUTPUT_TOKENS} output tokens each, alone, which is the batch's speed; then of lengths
from {LENGTHS[0]} to {LENGTHS[1]} tokens, with one streamed request of a customer at a time, {PAUSE_SECONDS} s
after the one before. Each order on two engines, in turns. Requests go to the engine itself, with the `priority`
that the API adds."""


@dataclass(frozen=True)
class Round:
    """Output tokens a second of the lines alone, and seconds to the first token of each request beside them,
    and of some at the idle engine."""

    tokens_per_second: float
    beside: Sequence[float]
    idle: Sequence[float]


def measure(*, quick: bool) -> Table:
    """Each order twice."""
    count = LINES_QUICK if quick else LINES
    rounds = [asyncio.run(_round(order, count, n)) for n, order in enumerate(ROUNDS)]
    return _table(count, rounds)


async def _round(order: str, count: int, number: int) -> Round:
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        spec = engine_spec(Path(folder), model())
        spec = replace(spec, flags=[*spec.flags, "--scheduling-policy", order])
        server = EngineServer(spec)
        await server.start()
        try:
            await server.wait_ready(START_SECONDS_MAX)
            target = Target(spec.id, server.url, None, int(spec.max_num_seqs * FILL))
            await _run(target, equal_lines(target.slots, about=f"Before round {number}, line"))
            priority = -1 if order == "priority" else 0
            idle = [await _first_token(target, priority) for _ in range(IDLE_REQUESTS)]
            began = time.monotonic()
            await _run(target, equal_lines(count, about=f"Round {number} {FIRST}, line"))
            rate = count * OUTPUT_TOKENS / (time.monotonic() - began)
            lines = _varied(equal_lines(2 * count, about=f"Round {number} {SECOND}, line"))
            running = asyncio.create_task(_run(target, lines))
            beside = []
            while not running.done():
                await asyncio.sleep(PAUSE_SECONDS)
                beside.append(await _first_token(target, priority))
            await running
        finally:
            await server.stop()
    return Round(rate, beside[:-1], idle)  # the last one met the batch's end


def _varied(lines: Sequence[Line]) -> list[Line]:
    """The same lines, of all lengths."""
    shortest, longest = LENGTHS
    lengths = [shortest + number * 7 % (longest - shortest + 1) for number in range(len(lines))]
    return [
        {**line, "body": {**line["body"], "max_tokens": length, "min_tokens": length}}
        for line, length in zip(lines, lengths, strict=True)
    ]


async def _run(target: Target, lines: Sequence[Line]) -> None:
    """All lines, as many at once as the target has slots."""
    slots = asyncio.Semaphore(target.slots)
    async with EngineClient() as client:

        async def one(line: Line) -> None:
            async with slots:
                body = json.dumps(line["body"]).encode()
                outcome = await client.post(target, CHAT, body, line["custom_id"])
                assert isinstance(outcome, Answered), outcome
                assert outcome.usage.output_tokens == line["body"]["max_tokens"], outcome

        await asyncio.gather(*map(one, lines))


async def _first_token(target: Target, priority: int) -> float:
    body = {
        "model": "yard-smoke",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 8,
        "stream": True,
        "priority": priority,
    }
    began = time.monotonic()
    first = None
    async with (
        httpx.AsyncClient(trust_env=False, timeout=REQUEST_SECONDS_MAX) as client,
        client.stream("POST", target.url + CHAT, json=body) as answer,
    ):
        async for line in answer.aiter_lines():
            if first is None and '"content":"' in line and '"content":""' not in line:
                first = time.monotonic() - began
    assert first is not None, answer.status_code
    return first


def _table(count: int, rounds: Sequence[Round]) -> Table:
    def row(name: str, order: str) -> list[str]:
        own = [found for kind, found in zip(ROUNDS, rounds, strict=True) if kind == order]
        beside = sorted(seconds for found in own for seconds in found.beside)
        rates = [found.tokens_per_second for found in own]
        peer = mean(f.tokens_per_second for k, f in zip(ROUNDS, rounds, strict=True) if k == "fcfs")
        idle = median(seconds for found in own for seconds in found.idle)
        return [
            name,
            ", ".join(f"{rate:,.0f}" for rate in rates),
            f"{mean(rates) / peer:.2f}",
            f"{median(beside):.2f} s",
            f"{beside[int(len(beside) * 0.9)]:.2f} s",
            str(len(beside)),
            f"{idle * 1000:.0f} ms",
        ]

    return Table(
        title=f"A synchronous request beside {count:,} lines",
        columns=(
            "order of the engine",
            "batch alone, output tokens/s, each run",
            "ratio",
            "first token beside the batch, p50",
            "p90",
            "requests",
            "at the idle engine, p50",
        ),
        rows=[
            row("of arrival (vLLM's default)", "fcfs"),
            row("by priority, as our engines run", "priority"),
        ],
        notes=NOTES,
    )
