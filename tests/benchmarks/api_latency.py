"""How fast a batch is created and looked at, with many clients at once, in a process of their own."""

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from random import Random

import aiohttp
import openai

from tests.benchmarks.lines import equal_lines
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.running import RunningApi, api_alone, new_customer
from tests.benchmarks.table import Table
from tests.customer import CHAT, submit

CLIENTS = 50
SECONDS, SECONDS_QUICK = 10.0, 3.0
THINK_SECONDS = 1.0  # between an answer and the next request, on average

NOTES = f"""\
{CLIENTS} clients, each of an organization of its own, with connections kept open, in a process beside the
API's; one uvicorn process and Postgres with durable commits; nothing runs the batches. \"at once\": every
client sends its next request as soon as it has an answer, so the median is {CLIENTS} divided by what the two
cores can do. \"with pauses\": after each answer a client waits {THINK_SECONDS:.0f} s on average, as programs
that poll do."""


@dataclass(frozen=True)
class Load:
    """What the clients do for `seconds`: create batches of their `files`, or look at `batches`."""

    url: str
    keys: Sequence[str]
    files: Sequence[str]
    batches: Sequence[str]
    creates: bool
    think_seconds: float
    seconds: float


def measure(*, quick: bool) -> Table:
    """Each kind of request at each pace."""
    seconds = SECONDS_QUICK if quick else SECONDS
    rows = []
    with api_alone() as api:
        keys = [
            new_customer(api.url, api.keys["operator"], name=f"customer {number}", tier="enterprise")
            for number in range(CLIENTS)
        ]
        first = [_first_batch(api, key) for key in keys]
        files, batches = [one[0] for one in first], [one[1] for one in first]
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            for name, creates in (("retrieve", False), ("create", True)):
                for pace, think in (("with pauses", THINK_SECONDS), ("at once", 0.0)):
                    load = Load(api.url, keys, files, batches, creates, think, seconds)
                    before = cpu_seconds(api.pid)
                    took = sorted(process.submit(run, load).result())
                    cpu = (cpu_seconds(api.pid) - before) / len(took)
                    rows.append(_row(f"{name}, {pace}", took, seconds, cpu))
    return Table(
        title=f"The API with {CLIENTS} clients",
        columns=("", "requests/s", "p50", "p95", "CPU of the API for one"),
        rows=rows,
        notes=NOTES,
    )


def _row(name: str, took: Sequence[float], seconds: float, cpu: float) -> list[str]:
    p50, p95 = took[len(took) // 2], took[len(took) * 95 // 100]
    rate = len(took) / seconds
    return [name, f"{rate:.0f}", f"{p50 * 1e3:.1f} ms", f"{p95 * 1e3:.1f} ms", f"{cpu * 1e3:.1f} ms"]


def _first_batch(api: RunningApi, key: str) -> tuple[str, str]:
    """The ids of a customer's file and of a batch of it."""
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key=key) as client:
        batch = submit(client, equal_lines(1, about="The only line"))
        return batch.input_file_id, batch.id


def run(load: Load) -> list[float]:
    """Carry the load, in this process; gives the seconds that each request took."""
    return asyncio.run(_clients(load))


async def _clients(load: Load) -> list[float]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        deadline = time.monotonic() + load.seconds
        each = await asyncio.gather(*(_client(session, load, n, deadline) for n in range(len(load.keys))))
    return [seconds for one in each for seconds in one]


async def _client(session: aiohttp.ClientSession, load: Load, number: int, deadline: float) -> list[float]:
    headers = {"Authorization": f"Bearer {load.keys[number]}"}
    pauses = Random(number)
    body = {"input_file_id": load.files[number], "endpoint": CHAT, "completion_window": "24h"}
    took = []
    await asyncio.sleep(pauses.uniform(0, load.think_seconds))
    while (began := time.monotonic()) < deadline:
        url = f"{load.url}/v1/batches"
        if load.creates:
            request = session.post(url, json=body, headers=headers)
        else:
            request = session.get(f"{url}/{load.batches[number]}", headers=headers)
        async with request as response:
            answer = await response.read()
            assert response.status == 200, answer
        took.append(time.monotonic() - began)
        await asyncio.sleep(pauses.uniform(0, 2 * load.think_seconds))
    return took
