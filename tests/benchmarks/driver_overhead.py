"""What the driver itself costs: CPU for a line, and a hundred drivers that wait in one process.

The engine is a bare socket server in another process that answers every request with the same bytes, so
the CPU time of this process is the driver's alone.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from orchestrator.batches.line_index import LineIndex
from orchestrator.planning import order
from orchestrator.storage.local import LocalStore
from tests.batch_files import Shelf, chat_line, write_batch
from tests.benchmarks.processes import rss_mb
from tests.benchmarks.table import Table
from tests.fakes import completion
from workers.inference.drive import Orders, Target, drive

LINES, LINES_QUICK = 10_000, 1_000
SLOTS = 256
DRIVERS = 100
SETTLE_SECONDS, IDLE_SECONDS = 0.5, 2.0
ANSWER_CHARACTERS = 1000
PROMPT_CHARACTERS = 2000

NOTES = f"""\
{SLOTS} lines in flight, prompts of {PROMPT_CHARACTERS:,} and answers of {ANSWER_CHARACTERS:,} characters:
reading the line, sending it, parsing the answer, writing it to a segment and storing that. The engine shares
the machine, so lines/s is a lower bound."""

ENGINE = """
import asyncio, sys
body = sys.stdin.buffer.read()
head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n"
answer = head % len(body) + body
class Engine(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""
    def data_received(self, data):
        self.data += data
        while (end := self.data.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.data[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\\r")[0])
            if len(self.data) < end + 4 + length:
                return
            self.data = self.data[end + 4 + length:]
            self.transport.write(answer)
async def main():
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def drive_all(folder: Path, index: LineIndex, target: Target) -> float:
    """Seconds of CPU for one drive of every line."""
    orders = Orders()
    orders.retarget({"m": [target]})
    shelf = Shelf(LocalStore(folder / "store"))
    todo = np.arange(len(index))
    before = time.process_time()
    await drive(
        source=folder / "input.jsonl",
        index=index,
        order=order(index, todo),
        orders=orders,
        segments=shelf.writer(),
    )
    assert sum(info.completed for info in shelf.adopted) == len(index)
    return time.process_time() - before


async def idle_drivers(folder: Path, index: LineIndex, drivers: int) -> tuple[float, float]:
    """So many drivers that wait for an engine, then stop: their share of a core, and memory in MB."""
    todo, shelf = np.arange(len(index)), Shelf(LocalStore(folder / "store"))
    before = rss_mb(os.getpid())
    everyone = [Orders() for _ in range(drivers)]
    tasks = [
        asyncio.create_task(
            drive(
                source=folder / "input.jsonl",
                index=index,
                order=order(index, todo),
                orders=orders,
                segments=shelf.writer(),
            )
        )
        for orders in everyone
    ]
    await asyncio.sleep(SETTLE_SECONDS)
    began = time.process_time()
    await asyncio.sleep(IDLE_SECONDS)
    cpu = (time.process_time() - began) / IDLE_SECONDS
    memory = rss_mb(os.getpid()) - before
    for orders in everyone:
        orders.stop_sending("batch_cancelled")
    await asyncio.gather(*tasks)
    return cpu, memory


def measure(*, quick: bool) -> Table:
    """Drivers at rest, then one at full speed."""
    count = LINES_QUICK if quick else LINES
    answer = json.dumps(completion("a" * ANSWER_CHARACTERS)).encode()
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as name, _engine(answer) as url:
        folder = Path(name)
        lines = [chat_line(n, pad="p" * PROMPT_CHARACTERS) for n in range(count)]
        index = write_batch(folder / "input.jsonl", lines)
        idle_cpu, idle_memory = asyncio.run(idle_drivers(folder, index, DRIVERS))
        began = time.monotonic()
        cpu = asyncio.run(drive_all(folder, index, Target("eng_1", url, "key", SLOTS)))
        rate = count / (time.monotonic() - began)
    return Table(
        title="What the driver costs",
        columns=("CPU for a line", "lines/s", f"{DRIVERS} waiting drivers: CPU", "memory"),
        rows=[[f"{cpu / count * 1e3:.2f} ms", f"{rate:,.0f}", f"{idle_cpu:.1%}", f"{idle_memory:.0f} MB"]],
        notes=NOTES,
    )


@contextmanager
def _engine(answer: bytes) -> Iterator[str]:
    """The bare server in its process; gives its address."""
    argv = [sys.executable, "-c", ENGINE]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engine:
        try:
            assert engine.stdin is not None
            assert engine.stdout is not None
            engine.stdin.write(answer)
            engine.stdin.close()
            yield f"http://127.0.0.1:{int(engine.stdout.readline())}"
        finally:
            engine.kill()
