"""What the driver itself costs: CPU a line, and memory of a hundred idle drivers in one process.

    python -m tests.benchmarks.driver_overhead [--lines 5000] [--slots 256] [--drivers 100]

The engine is a bare socket server in another process that answers every request with the same
bytes, so the CPU time of this process is the driver's alone.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from orchestrator.batches.line_index import LineIndex
from orchestrator.planning import order
from orchestrator.storage.local import LocalStore
from tests.batch_files import Shelf, chat_line, write_batch
from tests.fakes import completion
from workers.inference.drive import Orders, Target, drive

ANSWER_CHARACTERS = 1000
PROMPT_CHARACTERS = 2000

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


async def idle_drivers(folder: Path, index: LineIndex, drivers: int) -> None:
    """So many drivers that wait for an engine, then stop."""
    todo, shelf = np.arange(len(index)), Shelf(LocalStore(folder / "store"))
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
    await asyncio.sleep(0.5)
    before = time.process_time()
    await asyncio.sleep(2.0)
    print(f"CPU of {drivers} idle drivers   {(time.process_time() - before) / 2:8.1%}")
    print(f"memory with {drivers} of them   {memory_mb():6.0f} MB")
    for orders in everyone:
        orders.stop_sending("batch_cancelled")
    await asyncio.gather(*tasks)


def memory_mb() -> float:
    """Resident memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--drivers", type=int, default=100)
    options = parser.parse_args()
    answer = json.dumps(completion("a" * ANSWER_CHARACTERS)).encode()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [chat_line(n, pad="p" * PROMPT_CHARACTERS) for n in range(options.lines)]
        index = write_batch(folder / "input.jsonl", lines)
        engine = subprocess.Popen(
            [sys.executable, "-c", ENGINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert engine.stdin is not None
            assert engine.stdout is not None
            engine.stdin.write(answer)
            engine.stdin.close()
            url = f"http://127.0.0.1:{int(engine.stdout.readline())}"
            print(f"memory at the start      {memory_mb():6.0f} MB")
            asyncio.run(idle_drivers(folder, index, options.drivers))
            began = time.monotonic()
            cpu = asyncio.run(drive_all(folder, index, Target("eng_1", url, "key", options.slots)))
            print(f"lines                    {options.lines:6d}, {options.slots} in flight")
            print(f"lines per second         {options.lines / (time.monotonic() - began):6.0f}")
            print(f"CPU per line             {cpu / options.lines * 1000:6.2f} ms")
            print(f"load of the machine      {os.getloadavg()[0]:6.1f}")
        finally:
            engine.kill()
            engine.wait()


if __name__ == "__main__":
    main()
