"""Watching a batch until it ends: a bar with rate and ETA, or a line now and then in a log. What is here for
all that can be watched serves `fine_tune_watch.py`, too.

The yard does the work, not the watcher: Ctrl-C ends the watching alone.
"""

import time
from collections.abc import Callable, Collection

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
    path = f"/batches/{batch_id}"
    if not render.err.is_terminal:
        plain = PlainLines()
        return until_ended(yard, path, lambda batch: plain.show(batch["status"], _done(batch)), ended=ENDED)
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

        return until_ended(yard, path, show, ended=ENDED)


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


def until_ended(
    yard: Client, path: str, show: Callable[[Document], None], *, ended: Collection[str]
) -> Document:
    """Ask for what is at `path` and show it, again and again until its status is one of `ended`; return it
    then. A yard that is away for a while is waited for. Raises Refused, Unreachable."""
    reached_at = time.monotonic()
    while True:
        try:
            found = yard.get(path)
            show(found)
            reached_at = time.monotonic()
            if found["status"] in ended:
                return found
        except Unreachable:
            if time.monotonic() - reached_at > OUTAGE_SECONDS_MAX:
                raise
        time.sleep(POLL_SECONDS)


class PlainLines:
    """A line at each change of status, every few seconds while there is news, never one twice."""

    def __init__(self) -> None:
        self._status = ""
        self._said = ""
        self._next_at = 0.0

    def show(self, status: str, *details: str) -> None:
        """Say it, if it is due."""
        words = ", ".join(filter(None, (status, *details)))
        due = status != self._status or time.monotonic() > self._next_at
        if due and words != self._said:
            self._status, self._said = status, words
            self._next_at = time.monotonic() + PLAIN_LINE_SECONDS
            render.err.print(words, markup=False, soft_wrap=True)


def _done(batch: Document) -> str:
    progress = batch["progress"]
    done = f"{progress['lines_done']}/{progress['lines_total']} lines"
    return ", ".join(filter(None, (done, pace(batch))))
