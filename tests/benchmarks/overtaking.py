"""A synchronous request at an engine that a batch fills: with vLLM's priorities, as our engines run, and in
order of arrival; and what either order makes of the batch."""

import asyncio
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import httpx

from orchestrator.batches.sharing import FILL
from tests.benchmarks.lines import OUTPUT_TOKENS, equal_lines, model
from tests.benchmarks.run_batch import engine_spec
from tests.benchmarks.table import Table
from tests.customer import CHAT, Line
from workers.inference.client import Answered, EngineClient, Target
from workers.inference.server import EngineServer

ORDERS = ("fcfs", "priority")
TURNS = ("fcfs", "priority", "priority", "fcfs") * 2  # so that neither has the better moments
LINES, LINES_QUICK = 1_000, 200  # in a turn
START_SECONDS_MAX = 300.0
LENGTHS = (8, 120)  # evenly, so that places get free one by one
PAUSE_SECONDS = 0.25  # between two synchronous requests
IDLE_REQUESTS = 5
REQUEST_SECONDS_MAX = 120.0

NOTES = f"""\
Two engines of the smoke model, each with as many lines in flight, in its turns, as a driver keeps there,
{FILL:.0f} for each place. First lines of {OUTPUT_TOKENS} output tokens each, alone: the batch's speed. Then
lines of {LENGTHS[0]} to {LENGTHS[1]} tokens, with one streamed request of a customer at a time,
{PAUSE_SECONDS} s after the one before. Requests go to the engine itself, with the `priority` that the API
adds."""


@dataclass
class Found:
    """Of one order: output tokens a second of the lines alone, turn by turn, and seconds to the first token
    of each request beside lines, and of some at the idle engine."""

    rates: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)


def measure(*, quick: bool) -> Table:
    """All turns of both orders."""
    count = LINES_QUICK if quick else LINES
    return _table(count, asyncio.run(_both(count)))


async def _both(count: int) -> dict[str, Found]:
    found = {order: Found() for order in ORDERS}
    async with AsyncExitStack() as stack:
        targets = {order: await _started(stack, order) for order in ORDERS}
        for order, target in targets.items():
            await _run(target, equal_lines(target.slots, about=f"At first, {order}, line"))
            found[order].idle = [await _first_token(target, order) for _ in range(IDLE_REQUESTS)]
        for turn, order in enumerate(TURNS):
            began = time.monotonic()
            await _run(targets[order], equal_lines(count, about=f"Turn {turn} alone, line"))
            found[order].rates.append(count * OUTPUT_TOKENS / (time.monotonic() - began))
        for turn, order in enumerate(TURNS):
            lines = _varied(equal_lines(count, about=f"Turn {turn} together, line"))
            running = asyncio.create_task(_run(targets[order], lines))
            beside = []
            while not running.done():
                await asyncio.sleep(PAUSE_SECONDS)
                beside.append(await _first_token(targets[order], order))
            await running
            found[order].beside += beside[:-1]  # the last one met the end of the lines
    return found


async def _started(stack: AsyncExitStack, order: str) -> Target:
    """An engine that answers, until the end of the stack."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yard-bench-")))
    spec = engine_spec(folder, model())
    spec = replace(spec, flags=[*spec.flags, "--scheduling-policy", order])
    server = EngineServer(spec)
    stack.push_async_callback(server.stop)
    await server.start()
    await server.wait_ready(START_SECONDS_MAX)
    return Target(spec.id, server.url, None, int(spec.max_num_seqs * FILL))


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


async def _first_token(target: Target, order: str) -> float:
    body = {
        "model": "yard-smoke",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 8,
        "stream": True,
        "priority": -1 if order == "priority" else 0,
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


def _table(count: int, found: Mapping[str, Found]) -> Table:
    def row(name: str, order: str) -> list[str]:
        own, peer = found[order], found[ORDERS[0]]
        beside = sorted(own.beside)
        return [
            name,
            ", ".join(f"{rate:,.0f}" for rate in own.rates),
            f"{median(own.rates) / median(peer.rates):.2f}",
            f"{median(beside):.2f} s",
            f"{beside[int(len(beside) * 0.9)]:.2f} s",
            str(len(beside)),
            f"{median(own.idle) * 1000:.0f} ms",
        ]

    return Table(
        title=f"A synchronous request beside {count:,} lines",
        columns=(
            "order of the engine",
            "lines alone, output tokens/s, each turn",
            "ratio",
            "first token beside lines, p50",
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
