"""A yard from nothing, a batch and a fine-tune by the official client, and a look at every promise.

    make demo                                 the embedded defaults: everything under .yard
    .venv/bin/python -m infra.demo.run --s3   the same, with the bytes in an S3 server

Ends with 0 if everything held, otherwise with 1 and the reasons. Stops all that it started.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI
from openai.types import Batch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from infra import s3_server
from infra.demo import checks, fine_tune, yard
from infra.demo.lines import ENDPOINT, DemoLine, demo_lines
from orchestrator.settings import S3Settings, Settings
from orchestrator.storage.open import open_store

GOOD_LINES, BAD_LINES = 988, 12
BATCH_SECONDS_MAX = 900.0
POLL_SECONDS = 0.5
PLAIN_LINE_SECONDS = 5.0
SHOWN = 6
TIER = "developer"
SHOWN_KEYS = 8
ENDED = ("completed", "failed", "expired", "cancelled")
S3_STORE = "s3://yard/demo"
S3_KEYS = {"YARD_S3__ACCESS_KEY_ID": "demo", "YARD_S3__SECRET_ACCESS_KEY": "demo"}

console = Console(highlight=False)


class DemoFailed(Exception):
    """An expectation that did not hold; the message is for a person."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--s3", action="store_true", help="keep the bytes in an S3 server")
    in_s3 = parser.parse_args().s3
    settings = Settings()
    began = time.monotonic()
    try:
        with (
            _store(settings, in_s3=in_s3) as store,
            yard.running(settings, store=store, console=console) as running,
        ):
            ready = time.monotonic()
            run_batch(running, settings.absolute_home() / "demo.jsonl")
            batch_done = time.monotonic()
            fine_tune.run(running.api_url, running.keys, settings.absolute_home(), console)
            done = time.monotonic()
            if in_s3:
                asyncio.run(_show_bucket(settings, store))
    except (DemoFailed, fine_tune.FineTuneFailed, yard.YardFailed) as failure:
        console.print("[bold red]The demo failed.[/] ", end="")
        console.print(str(failure), markup=False, soft_wrap=True)
        sys.exit(1)
    console.print(f"[bold green]Everything held.[/] Start {ready - began:.0f} s,", end=" ")
    console.print(f"batch {batch_done - ready:.0f} s, fine-tune {done - batch_done:.0f} s,", end=" ")
    console.print(f"all {time.monotonic() - began:.0f} s.")


def run_batch(running: yard.RunningYard, path: Path) -> None:
    """Send the demo's lines, watch them, show and check what came of them. Raises DemoFailed."""
    lines = demo_lines(good=GOOD_LINES, bad=BAD_LINES)
    path.write_text("".join(line.to_json() + "\n" for line in lines))
    with OpenAI(base_url=f"{running.api_url}/v1", api_key=running.keys[TIER]) as client:
        with path.open("rb") as file:
            uploaded = client.files.create(file=file, purpose="batch")
        console.print(f"uploaded {path.name}: {len(lines)} lines, {uploaded.bytes:,} bytes")
        quote = client.post(f"/files/{uploaded.id}/validate", cast_to=httpx.Response).json()["quote"]
        console.print(_quoted(quote), soft_wrap=True)
        batch = client.batches.create(
            input_file_id=uploaded.id,
            endpoint=ENDPOINT,
            completion_window="24h",
            metadata={"made_by": "make demo"},
            extra_body={"tokenyard": {"on_invalid_line": "skip"}},
        )
        console.print(f"created {batch.id}")
        batch, seen = _watch(client, running, batch)
        if batch.status != "completed":
            raise DemoFailed(f"{batch.id} is {batch.status}, not completed: {batch.errors}")
        results = _results(client, batch)
    _show(lines, batch, results, seen)
    if found := list(checks.complaints(lines, results)):
        raise DemoFailed("".join(f"\n  {complaint}" for complaint in found))


def _quoted(quote: Mapping[str, Any]) -> str:
    expected, worst = quote["expected_cost_micros"] / 1e6, quote["worst_cost_micros"] / 1e6
    seconds = quote["finish_p50_seconds"]
    done = "when it is done: nobody knows yet" if seconds is None else f"done in about {seconds:.0f} s"
    return f"quoted ${expected:.6f} expected, ${worst:.6f} at most, {done}"


def _watch(client: OpenAI, running: yard.RunningYard, batch: Batch) -> tuple[Batch, int]:
    """The ended batch, and the most results that could be read while it ran."""
    deadline = time.monotonic() + BATCH_SECONDS_MAX
    seen = 0
    with _shown_progress() as show:
        while batch.status not in ENDED:
            if time.monotonic() > deadline:
                raise DemoFailed(f"{batch.id} is still {batch.status} after {BATCH_SECONDS_MAX} s")
            time.sleep(POLL_SECONDS)
            batch = client.batches.retrieve(batch.id)
            if batch.status == "in_progress":
                seen = max(seen, _results_so_far(running, batch))
            show(batch)
    return batch, seen


def _results_so_far(running: yard.RunningYard, batch: Batch) -> int:
    answer = httpx.get(
        f"{running.api_url}/v1/batches/{batch.id}/output",
        headers={"Authorization": f"Bearer {running.keys[TIER]}"},
        trust_env=False,
    )
    return answer.text.count("\n") if answer.status_code == 200 else 0


@contextmanager
def _shown_progress() -> Iterator[Any]:
    """A function that shows a batch's progress: in a bar, or in a line now and then."""
    if not console.is_terminal:
        yield _PlainLines().show
        return
    columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("{task.fields[pace]}"), console=console) as progress:
        bar = progress.add_task("", total=GOOD_LINES + BAD_LINES, pace="")
        yield lambda batch: progress.update(
            bar,
            description=batch.status,
            completed=_extra(batch, "progress")["lines_done"],
            pace=_pace(batch),
        )


class _PlainLines:
    """A line for each status, every few seconds while lines flow, never one twice."""

    def __init__(self) -> None:
        self._status = ""
        self._said = ""
        self._next_at = 0.0

    def show(self, batch: Batch) -> None:
        words = f"{batch.status}: {_extra(batch, 'progress')['lines_done']} lines {_pace(batch)}"
        due = batch.status != self._status or time.monotonic() > self._next_at
        if due and words != self._said:
            self._status, self._said = batch.status, words
            self._next_at = time.monotonic() + PLAIN_LINE_SECONDS
            console.print(words, soft_wrap=True)


def _pace(batch: Batch) -> str:
    progress = _extra(batch, "progress")
    if progress["waiting_for"]:
        return f"waiting for {progress['waiting_for']}"
    if progress["eta_seconds"] is None:
        return ""
    rate = f"{progress['lines_per_second']:.0f} lines/s"
    return f"{rate}, {progress['eta_seconds']} s left"


def _results(client: OpenAI, batch: Batch) -> checks.Results:
    if batch.output_file_id is None or batch.error_file_id is None or batch.request_counts is None:
        raise DemoFailed(f"{batch.id} lacks a result file: {batch.to_json()}")

    def parsed(file_id: str) -> list[checks.Result]:
        return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]

    return checks.Results(
        output=parsed(batch.output_file_id),
        errors=parsed(batch.error_file_id),
        total=batch.request_counts.total,
        completed=batch.request_counts.completed,
        failed=batch.request_counts.failed,
    )


def _show(lines: Sequence[DemoLine], batch: Batch, results: checks.Results, seen: int) -> None:
    asked = {line.custom_id: line for line in lines}
    usage, cost = _extra(batch, "usage"), _extra(batch, "cost")
    cached = usage["input_tokens_details"]["cached_tokens"]
    right = checks.right_answers(lines, results)
    for text in (
        "",
        f"lines     {results.completed} completed, {results.failed} failed of {results.total}",
        f"answers   {right} of {GOOD_LINES} right",
        f"tokens    {usage['input_tokens']:,} in ({cached:,} from cache), {usage['output_tokens']:,} out",
        f"cost      ${cost['amount_micros'] / 1e6:.6f}",
        f"live      {seen} results could be read while it ran",
        f"Prefect   {_extra(batch, 'flow_run_url')}",
        "",
        *(
            f"  {asked[result['custom_id']].question}  ->  {checks.answer(result)}"
            for result in results.output[:SHOWN]
        ),
        "",
        *(f"  {result['custom_id']}: {checks.refusal(result)[:200]}" for result in results.errors),
        "",
    ):
        console.print(text, markup=False, soft_wrap=True)


def _extra(batch: Batch, name: str) -> Any:
    """What this yard adds to OpenAI's Batch; their client keeps it."""
    return batch.to_dict()[name]


@contextmanager
def _store(settings: Settings, *, in_s3: bool) -> Iterator[Mapping[str, str]]:
    """The variables that tell a yard where its bytes go."""
    if not in_s3:
        yield {}
        return
    with s3_server.running(settings.absolute_home() / "logs") as url:
        console.print(f"S3 server at {url}")
        yield {"YARD_STORE_URL": S3_STORE, "YARD_S3__ENDPOINT_URL": url, **S3_KEYS}


async def _show_bucket(settings: Settings, store: Mapping[str, str]) -> None:
    s3 = S3Settings.model_validate(
        {
            name.removeprefix("YARD_S3__").lower(): value
            for name, value in store.items()
            if name.startswith("YARD_S3__")
        }
    )
    bucket = open_store(settings.model_copy(update={"store_url": S3_STORE, "s3": s3}))
    console.print(f"in {S3_STORE}:")
    shown = 0
    async for listed in bucket.list(""):
        if shown < SHOWN_KEYS:
            console.print(f"  {listed.size:>9,}  {listed.key}", soft_wrap=True)
        shown += 1
    console.print(f"  {shown} objects in all")


if __name__ == "__main__":
    main()
