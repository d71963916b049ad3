"""Watching a batch until it ends: a bar with rate and ETA, or a line now and then in a log.

The yard does the work, not the watcher: Ctrl-C ends the watching alone.
"""

import time
from collections.abc import Callable

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from api.cli import render
from api.cli.client import Client, Document, Unreachable
from api.cli.exits import Exit

ENDED = ("completed", "failed", "expired", "cancelled")
POLL_SECONDS = 1.0
PLAIN_LINE_SECONDS = 5.0
OUTAGE_SECONDS_MAX = 60.0  # a yard that restarts is back by then


def watch(yard: Client, batch_id: str) -> Document:
    """Show a batch's progress until it has ended, and return it. Raises Refused, Unreachable."""
    if not render.err.is_terminal:
        return _until_ended(yard, batch_id, _PlainLines().show)
    columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("{task.fields[pace]}"), console=render.err) as progress:
        bar = progress.add_task("", total=None, pace="")

        def show(batch: Document) -> None:
            progress.update(
                bar,
                description=batch["status"],
                completed=batch["progress"]["lines_done"],
                total=batch["progress"]["lines_total"] or None,
                pace=pace(batch),
            )

        return _until_ended(yard, batch_id, show)


def pace(batch: Document) -> str:
    """What the yard says of a batch's speed: rate, ETA, failed lines, why it waits."""
    progress = batch["progress"]
    failed = batch["request_counts"]["failed"]
    said = []
    if progress["lines_per_second"]:
        said.append(f"{progress['lines_per_second']:.1f} lines/s")
    if progress["tokens_per_second"]:
        said.append(f"{progress['tokens_per_second']:,.0f} tokens/s")
    if progress["eta_seconds"] is not None:
        said.append(f"{render.duration(progress['eta_seconds'])} left")
    if failed:
        said.append(f"{failed} failed")
    if progress["waiting_for"]:
        said.append(f"waiting for {progress['waiting_for']}")
    return ", ".join(said)


def outcome(batch: Document) -> Exit:
    """The exit code that an ended batch deserves."""
    if batch["status"] in ("cancelled", "expired"):
        return Exit.STOPPED
    clean = batch["status"] == "completed" and not batch["request_counts"]["failed"]
    return Exit.OK if clean else Exit.FAILED


class _PlainLines:
    """A line at each change of status, every few seconds while lines flow, never one twice."""

    def __init__(self) -> None:
        self._status = ""
        self._said = ""
        self._next_at = 0.0

    def show(self, batch: Document) -> None:
        progress = batch["progress"]
        done = f"{progress['lines_done']}/{progress['lines_total']} lines"
        words = ", ".join(filter(None, (batch["status"], done, pace(batch))))
        due = batch["status"] != self._status or time.monotonic() > self._next_at
        if due and words != self._said:
            self._status, self._said = batch["status"], words
            self._next_at = time.monotonic() + PLAIN_LINE_SECONDS
            render.err.print(words, markup=False, soft_wrap=True)


def _until_ended(yard: Client, batch_id: str, show: Callable[[Document], None]) -> Document:
    reached_at = time.monotonic()
    while True:
        try:
            batch = yard.get(f"/batches/{batch_id}")
            reached_at = time.monotonic()
            show(batch)
            if batch["status"] in ENDED:
                return batch
        except Unreachable:
            if time.monotonic() - reached_at > OUTAGE_SECONDS_MAX:
                raise
        time.sleep(POLL_SECONDS)
