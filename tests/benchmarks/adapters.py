"""One batch whose lines alternate between a base and its adapters, against a `run-batch` for each of them;
and how long a new adapter takes from its publication to its first result."""

import io
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import httpx
import openai

from orchestrator.adapters.model import CONFIG, WEIGHTS
from tests.adapter_files import make_adapter
from tests.benchmarks.lines import OUTPUT_TOKENS, equal_lines, model
from tests.benchmarks.run_batch import PeerRun, run_batch
from tests.benchmarks.running import whole_yard
from tests.benchmarks.table import Table
from tests.customer import BATCH_SECONDS_MAX, ENDED, Line, customer, done, extra, submit
from tests.smoke_fixture import made_smoke_model
from tests.yard_process import YardProcess

BASE = "yard-smoke"
ADAPTERS, ADAPTERS_QUICK = 8, 2
LINES, LINES_QUICK = 100, 10  # for each model
NEW_ADAPTERS, NEW_ADAPTERS_QUICK = 5, 1
NEW_LINES = 8
RANK = 8
POLL_SECONDS = 0.05

NOTES = f"""\
Every line answers {OUTPUT_TOKENS} tokens, by the same engine flags. `run-batch` takes one adapter a run,
loaded at its start (none for the base, which therefore runs without LoRA), and its files run one after
another; the yard has all lines in one file, alternating. Adapters are of rank {RANK}, imported as ZIP files
through `/v1/fine_tunings`. Without engine starts, `run-batch` is timed from reading its file to writing its
results, the yard from `in_progress` to `completed` with all adapters loaded."""


@dataclass(frozen=True)
class Ours:
    """Seconds: the first batch with its engine's start and all loads, the mixed one from `in_progress` and
    from its creation, and for each new adapter from its publication to the first result with it."""

    first: float
    run: float
    total: float
    new: Sequence[float]


def measure(*, quick: bool) -> Table:
    """All models in one batch, then each in a run of its own."""
    adapters, lines, new = (
        (ADAPTERS_QUICK, LINES_QUICK, NEW_ADAPTERS_QUICK) if quick else (ADAPTERS, LINES, NEW_ADAPTERS)
    )
    base = made_smoke_model()
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as name:
        root = Path(name)
        folders = [make_adapter(root / f"{n}", base, seed=n, rank=RANK) for n in range(adapters + new)]
        ours = _ours(folders[:adapters], folders[adapters:], lines)
        theirs = _theirs(root, folders[:adapters], lines)
    return _table((adapters + 1) * lines, theirs, ours, adapters)


def _theirs(root: Path, folders: Sequence[Path], lines: int) -> list[PeerRun]:
    runs: list[Mapping[str, Path]] = [{}, *({f"adapter-{n}": path} for n, path in enumerate(folders))]
    return [
        run_batch(
            root,
            equal_lines(lines, about=f"Run {n}, line", model=next(iter(adapters), BASE)),
            model(),
            adapters=adapters,
        )
        for n, adapters in enumerate(runs)
    ]


def _ours(folders: Sequence[Path], new: Sequence[Path], lines: int) -> Ours:
    with whole_yard() as yard, customer(yard, "enterprise") as client:
        models = [BASE, *(_bring(yard, path) for path in folders)]
        began = time.monotonic()
        done(client, yard, submit(client, _mixed(models, 2, about="Before all")))
        first = time.monotonic() - began
        run, total = _run(client, _mixed(models, lines, about="Mixed"))
        return Ours(first, run, total, [_until_first_result(client, yard, path) for path in new])


def _mixed(models: Sequence[str], lines: int, *, about: str) -> list[Line]:
    """Lines that name one model after the other."""
    of_each = [equal_lines(lines, about=f"{about}, model {n}, line", model=m) for n, m in enumerate(models)]
    mixed = [line for row in zip(*of_each, strict=True) for line in row]
    return [line | {"custom_id": f"line-{number}"} for number, line in enumerate(mixed)]


def _bring(yard: YardProcess, folder: Path) -> str:
    """Import an adapter as its customer would; the name of the model that it is."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in (WEIGHTS, CONFIG):
            archive.write(folder / name, name)
    headers = {"Authorization": f"Bearer {yard.keys['enterprise']}"}
    with httpx.Client(
        base_url=f"{yard.api_url}/v1", headers=headers, trust_env=False, timeout=60.0
    ) as client:
        sent = {"file": ("adapter.zip", packed.getvalue())}
        file = client.post("/files", data={"purpose": "fine_tuning"}, files=sent).raise_for_status().json()
        asked = {"input_file_id": file["id"], "base_model": BASE, "type": "lora"}
        made = client.post("/fine_tunings", json=asked).raise_for_status().json()
    fine_tuned: str = made["data"]["fine_tuned_model"]
    return fine_tuned


def _run(client: openai.OpenAI, lines: Sequence[Line]) -> tuple[float, float]:
    """Seconds from `in_progress` and from creation to `completed`."""
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
    return ended - running, ended - created


def _until_first_result(client: openai.OpenAI, yard: YardProcess, folder: Path) -> float:
    """Seconds from the answer that publishes the adapter to the first stored result of a batch with it."""
    name = _bring(yard, folder)
    published = time.monotonic()
    batch = submit(client, equal_lines(NEW_LINES, about=f"New {name}, line", model=name))
    while not extra(client.batches.retrieve(batch.id), "progress")["lines_done"]:
        assert time.monotonic() - published < BATCH_SECONDS_MAX, batch.to_json()
        time.sleep(POLL_SECONDS)
    seconds = time.monotonic() - published
    done(client, yard, batch)
    return seconds


def _table(lines: int, theirs: Sequence[PeerRun], ours: Ours, adapters: int) -> Table:
    without, whole = sum(run.run_seconds for run in theirs), sum(run.total_seconds for run in theirs)

    def row(name: str, seconds: float, peer: float) -> list[str]:
        return [name, f"{seconds:.1f}", f"{lines / seconds:.1f}", f"{peer / seconds:.2f}"]

    first = ", ".join(f"{seconds:.1f}" for seconds in ours.new)
    start = mean(run.start_seconds for run in theirs)
    return Table(
        title=f"One batch of {lines} lines over a base and {adapters} adapters",
        columns=("", "seconds", "lines/s", "times `run-batch`"),
        rows=[
            row(f"`run-batch`, {len(theirs)} runs, engine starts left out", without, without),
            row("yard, in_progress to completed", ours.run, without),
            row("yard, create to completed", ours.total, without),
            row(f"`run-batch`, {len(theirs)} runs, all of it", whole, whole),
            row("yard, from no engine: start, loads, and the batch", ours.first + ours.total, whole),
        ],
        notes=f"{NOTES} Engine start: `run-batch` {start:.0f} s for each file, the yard once: its first, "
        f"small batch took {ours.first:.0f} s in all. From the publication of a new adapter to the first "
        f"stored result of a batch with it, on the running engine: {first} s ({NEW_LINES} lines each).",
    )
