"""One large batch through a warm yard against vLLM's `run-batch` on the same lines, in turns."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import openai

from tests.benchmarks.lines import OUTPUT_TOKENS, equal_lines, model
from tests.benchmarks.run_batch import PeerRun, run_batch
from tests.benchmarks.running import whole_yard
from tests.benchmarks.table import Table
from tests.customer import ENDED, Line, customer, submit

LINES, LINES_QUICK = 2_000, 200
WARM_UP_LINES = 64
POLL_SECONDS = 0.25

NOTES = f"""\
The same lines, {OUTPUT_TOKENS} output tokens each, by the same engine flags, one run after the other:
`run-batch`, the yard twice, `run-batch` again. So neither has the better moment, and neither has a process
of the other beside it. `run-batch` is timed from reading its file to writing its results, its engine's start
apart. The yard is timed as its customer sees it, with the engine warm: from `in_progress` to `completed`,
and from the answer to its create request, with validation and dispatch."""


@dataclass(frozen=True)
class OurRun:
    """Seconds to `completed`: from `in_progress`, and from the answer to the create request."""

    output_tokens: int
    run_seconds: float
    total_seconds: float


def measure(*, quick: bool) -> Table:
    """Two rounds of each."""
    count = LINES_QUICK if quick else LINES
    rounds = [equal_lines(count, about=f"The {name} round, line") for name in ("first", "second")]
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        theirs = [run_batch(Path(folder), rounds[0], model())]
        engine_seconds, ours = _ours(rounds)
        theirs.append(run_batch(Path(folder), rounds[1], model()))
    return _table(count, theirs, ours, engine_seconds)


def _ours(rounds: Sequence[Sequence[Line]]) -> tuple[float, list[OurRun]]:
    """How long the first, small batch took, which starts the engine; then the rounds."""
    with whole_yard() as yard, customer(yard) as client:
        cold = _run(client, equal_lines(WARM_UP_LINES, about="Before all rounds, line"))
        return cold.total_seconds, [_run(client, lines) for lines in rounds]


def _run(client: openai.OpenAI, lines: Sequence[Line]) -> OurRun:
    batch = submit(client, lines)
    created = running = time.monotonic()
    while batch.status not in ENDED:
        time.sleep(POLL_SECONDS)
        batch = client.batches.retrieve(batch.id)
        if batch.status == "validating":
            running = time.monotonic()
    ended = time.monotonic()
    assert batch.status == "completed", batch.to_json()
    assert batch.usage is not None
    assert batch.usage.output_tokens == len(lines) * OUTPUT_TOKENS, batch.to_json()
    return OurRun(batch.usage.output_tokens, ended - running, ended - created)


def _table(count: int, theirs: list[PeerRun], ours: list[OurRun], engine_seconds: float) -> Table:
    def row(name: str, runs: Sequence[tuple[int, float]]) -> list[str]:
        rates = [tokens / seconds for tokens, seconds in runs]
        peer = mean(run.output_tokens / run.run_seconds for run in theirs)
        lines = mean(count / seconds for _, seconds in runs)
        return [
            name,
            ", ".join(f"{rate:,.0f}" for rate in rates),
            f"{lines:.1f}",
            f"{mean(rates) / peer:.2f}",
        ]

    start = mean(run.start_seconds for run in theirs)
    return Table(
        title=f"One batch of {count:,} lines, warm",
        columns=("", "output tokens/s, each run", "lines/s", "ratio"),
        rows=[
            row("`run-batch`, engine start left out", [(r.output_tokens, r.run_seconds) for r in theirs]),
            row("yard, in_progress to completed", [(r.output_tokens, r.run_seconds) for r in ours]),
            row("yard, create to completed", [(r.output_tokens, r.total_seconds) for r in ours]),
        ],
        notes=f"{NOTES} Engine start: `run-batch` {start:.0f} s for each file, the yard once: its first "
        f"batch, of {WARM_UP_LINES} lines, took {engine_seconds:.0f} s in all.",
    )
