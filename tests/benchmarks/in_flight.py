"""A hundred batches in one worker at once, on a remote engine that takes its time."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import openai
from aiohttp import web

from orchestrator.models import registry
from tests.benchmarks.processes import cpu_seconds, rss_mb
from tests.benchmarks.running import whole_yard
from tests.benchmarks.table import Table
from tests.customer import BATCH_SECONDS_MAX, CHAT, chat, customer, submit
from tests.fakes import ScriptedEngine, completion
from tests.yard_process import YardProcess, in_background, until

BATCHES, BATCHES_QUICK = 100, 10
LINES = 1_000
ANSWER_SECONDS = 30.0  # no batch ends before the last one runs
MODELS = """
[models."remote"]
url = "{url}"
context_length = 4096
endpoints = ["/v1/chat/completions"]
input_price = 1
cached_input_price = 1
output_price = 1
"""
ANSWER = completion("A slow answer. " * 60)
SECONDS = 20.0

NOTES = f"""\
Batches of {LINES} lines, all `in_progress` in one worker of the cpu pool: a driver, a lease and a heartbeat
each, and together as many lines in flight as the engine takes, which answers after {ANSWER_SECONDS:.0f} s.
CPU is that of one core, over {SECONDS:.0f} s."""


async def slow(engine: ScriptedEngine, request: web.Request, body: dict[str, Any]) -> web.Response:
    """The same words for everybody, late."""
    await asyncio.sleep(ANSWER_SECONDS)
    return web.json_response(ANSWER)


def measure(*, quick: bool) -> Table:
    """The worker before, and with all batches running."""
    count = BATCHES_QUICK if quick else BATCHES
    engine = ScriptedEngine(slow)
    with (
        in_background(engine) as url,
        tempfile.TemporaryDirectory(prefix="yard-bench-") as folder,
    ):
        models = Path(folder) / "models.toml"
        models.write_text(registry.SHIPPED.read_text() + MODELS.format(url=url))
        with whole_yard(YARD_MODELS_FILE=str(models)) as yard, customer(yard, "enterprise") as client:
            (worker,) = yard.pids("worker-cpu")
            at_rest = rss_mb(worker)
            began = time.monotonic()
            first = submit(client, [chat(number, model="remote") for number in range(LINES)])
            for _ in range(count - 1):
                client.batches.create(
                    input_file_id=first.input_file_id, endpoint=CHAT, completion_window="24h"
                )
            _wait_running(client, yard, count)
            started = time.monotonic() - began
            rss, cpu = _watch(worker)
            in_flight = engine.in_flight
    return Table(
        title=f"{count} batches in flight in one worker",
        columns=("", "memory", "CPU", "lines in flight"),
        rows=[
            ["worker at rest", f"{at_rest:.0f} MB", "", "0"],
            [f"with {count} batches", f"{rss:.0f} MB", f"{cpu:.0%}", str(in_flight)],
        ],
        notes=f"{NOTES} From the first upload until all ran: {started:.0f} s.",
    )


def _wait_running(client: openai.OpenAI, yard: YardProcess, wanted: int) -> None:
    """Until every batch drives its lines."""

    def all_run() -> bool:
        found = client.batches.list(limit=wanted).data
        return all(batch.status == "in_progress" for batch in found)

    until(all_run, seconds=BATCH_SECONDS_MAX, what=f"{wanted} batches in progress", tell=yard.logs)


def _watch(worker: int) -> tuple[float, float]:
    """The most memory seen in MB, and the share of a core."""
    began, before = time.monotonic(), cpu_seconds(worker)
    most = 0.0
    while time.monotonic() - began < SECONDS:
        most = max(most, rss_mb(worker))
        time.sleep(1.0)
    return most, (cpu_seconds(worker) - before) / (time.monotonic() - began)
