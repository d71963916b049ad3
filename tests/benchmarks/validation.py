"""Preparing a large batch: every line checked, its tokens counted by the chat template, and indexed."""

import json
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from orchestrator.batches.line_index import LineIndex
from orchestrator.batches.preparation import Preparation, PreparationSpec, prepare
from orchestrator.batches.preparation_spec import preparation_spec
from orchestrator.entitlements.tiers import Tiers
from orchestrator.models.registry import Registry
from orchestrator.settings import PROJECT
from tests.benchmarks.table import Table
from tests.customer import chat
from tests.smoke_fixture import made_smoke_model

LINES, LINES_QUICK = 500_000, 20_000
BAD_EVERY = 1_000
SYSTEM = (
    "You are the help desk of a shop. Answer in one short sentence, and say so when you do not know. " * 4
)
DISTINCT_PROMPTS = 20

NOTES = f"""\
In the child process that a worker keeps for it. A line has some 550 bytes, a system prompt that many lines
share among them, and the smoke model's own template and tokenizer count its tokens; one line in {BAD_EVERY:,}
is broken. Memory is the most that the child ever had, its libraries included."""


def measure(*, quick: bool) -> Table:
    """One preparation, from the file to the index and the report."""
    count = LINES_QUICK if quick else LINES
    made_smoke_model()
    tiers = Tiers.load(None)
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as name:
        folder = Path(name)
        source = folder / "input.jsonl"
        size = _write(source, count)
        spec = preparation_spec(
            source=source,
            folder=folder,
            registry=Registry.load(None, home=PROJECT / ".yard"),
            organization_id="org_bench",
            named={},
            tiers=tiers,
            tier=tiers["enterprise"],
        )
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            at_rest = process.submit(_peak_mb).result()
            preparation, seconds = process.submit(_timed, spec).result()
            peak = process.submit(_peak_mb).result()
        assert (preparation.lines, preparation.bad_lines) == (count, count // BAD_EVERY)
        assert len(LineIndex.from_bytes(preparation.index.read_bytes())) == count
    return Table(
        title=f"Validation of {count:,} lines ({size / 1e6:.0f} MB)",
        columns=("seconds", "lines/s", "MB/s", "peak memory", "of it before the first line"),
        rows=[
            [
                f"{seconds:.1f}",
                f"{count / seconds:,.0f}",
                f"{size / 1e6 / seconds:.0f}",
                f"{peak:.0f} MB",
                f"{at_rest:.0f} MB",
            ]
        ],
        notes=NOTES,
    )


def _write(path: Path, count: int) -> int:
    """The batch file; gives its size in bytes."""
    with path.open("w") as file:
        for number in range(count):
            line = chat(number, system=f"{number % DISTINCT_PROMPTS}. {SYSTEM}", user=f"customer-{number}")
            if number % BAD_EVERY == BAD_EVERY - 1:
                del line["body"]["model"]
            file.write(json.dumps(line) + "\n")
    return path.stat().st_size


def _timed(spec: PreparationSpec) -> tuple[Preparation, float]:
    began = time.monotonic()
    return prepare(spec), time.monotonic() - began


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
