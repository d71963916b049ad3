"""Many small batches of many customers at once, against one `run-batch` for each."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import openai

from tests.benchmarks.lines import equal_lines, model
from tests.benchmarks.run_batch import run_batch
from tests.benchmarks.running import new_customer, whole_yard
from tests.benchmarks.table import Table
from tests.customer import done, submit
from tests.yard_process import YardProcess

BATCHES, BATCHES_QUICK = 20, 4
LINES = 50
PEER_RUNS = 2

NOTES = f"""\
Each batch is of an organization of its own, made by the operator's API; all are sent at once and end on one
engine together. `run-batch` takes one file a run, and starts an engine for it: {PEER_RUNS} runs were measured
and their mean multiplied by the number of files."""


def measure(*, quick: bool) -> Table:
    """All batches on one yard, cold and warm; a few of them by `run-batch`."""
    count = BATCHES_QUICK if quick else BATCHES
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        theirs = [
            run_batch(Path(folder), equal_lines(LINES, about=f"File {number}, line"), model()).total_seconds
            for number in range(PEER_RUNS)
        ]
    with whole_yard() as yard:
        keys = [
            new_customer(yard.api_url, yard.keys["operator"], name=f"customer {number}", tier="developer")
            for number in range(count)
        ]
        cold, warm = (_all(yard, keys, about=about) for about in ("Cold", "Warm"))
    peer = mean(theirs) * count
    each = " and ".join(f"{seconds:.0f}" for seconds in theirs)

    def row(name: str, seconds: float) -> list[str]:
        return [name, f"{seconds:.0f}", f"{count * LINES / seconds:.1f}", f"{peer / seconds:.1f}"]

    return Table(
        title=f"{count} batches of {LINES} lines from {count} organizations",
        columns=("", "seconds for all", "lines/s", "times `run-batch`"),
        rows=[
            row(f"`run-batch`, {count} runs (from {each} s for one)", peer),
            row("yard, from no engine", cold),
            row("yard, warm", warm),
        ],
        notes=NOTES,
    )


def _all(yard: YardProcess, keys: Sequence[str], *, about: str) -> float:
    """Seconds from the first upload to the last completed batch."""
    clients = [openai.OpenAI(base_url=f"{yard.api_url}/v1", api_key=key) for key in keys]
    began = time.monotonic()
    batches = [
        submit(client, equal_lines(LINES, about=f"{about}, customer {number}, line"))
        for number, client in enumerate(clients)
    ]
    for client, batch in zip(clients, batches, strict=True):
        done(client, yard, batch)
        client.close()
    return time.monotonic() - began
