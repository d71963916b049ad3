"""Watching a fine-tuning job until it ends or pauses: its messages, a bar with loss and ETA, its loss curve.

The yard does the work, not the watcher: Ctrl-C ends the watching alone.
"""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from api.cli import render
from api.cli.client import Client, Document
from api.cli.exits import Exit
from api.cli.fine_tune_show import place, steps
from api.cli.watch import PlainLines, until_ended
from orchestrator.fine_tuning.loss_plot import loss_plot

RESTING = ("succeeded", "failed", "cancelled", "paused")
EVENTS_PAGE = 1_000
EVENTS_A_READ_MAX = 100_000


def watch(yard: Client, job_id: str) -> Document:
    """Show a job's messages and progress until it has ended or is paused, then its loss curve, and return
    it. Raises Refused, Unreachable."""
    path = f"/fine_tuning/jobs/{job_id}"
    news = _News(yard, f"{path}/events")
    job = _with_lines(yard, path, news) if not render.err.is_terminal else _with_bar(yard, path, news)
    news.read()
    for line in loss_plot(news.losses):
        render.err.print(line, markup=False, soft_wrap=True)
    return job


def pace(job: Document, loss: float | None) -> str:
    """What the yard says of a job's speed: loss, rate, ETA, place in the queue, why it waits."""
    progress, queue = job["tokenyard"]["progress"], job["tokenyard"]["queue"]
    said = []
    if loss is not None:
        said.append(f"loss {loss:.4f}")
    if progress["steps_per_second"]:
        said.append(f"{progress['steps_per_second']:.1f} steps/s")
    if progress["eta_seconds"] is not None:
        said.append(f"{render.duration(progress['eta_seconds'])} left")
    if queue is not None:
        said.append(place(queue))
    if progress["waiting_for"]:
        said.append(f"waiting for {progress['waiting_for']}")
    return ", ".join(said)


def outcome(job: Document) -> Exit:
    """The exit code that a job deserves that has ended or is paused."""
    if job["status"] == "succeeded":
        return Exit.OK
    return Exit.FAILED if job["status"] == "failed" else Exit.STOPPED


class _News:
    """What a job has said since the last look: its messages are printed, its losses kept."""

    def __init__(self, yard: Client, path: str) -> None:
        self._yard = yard
        self._path = path
        self._last: str | None = None
        self.losses: list[float] = []

    def read(self) -> float | None:
        """The loss of the latest step that there is."""
        events = self._yard.items(
            self._path, limit=EVENTS_A_READ_MAX, page_items=EVENTS_PAGE, order="asc", after=self._last
        )
        for event in events:
            self._last = event["id"]
            if event["type"] == "metrics":
                self.losses.append(event["data"]["train_loss"])
            else:
                render.err.print(event["message"], markup=False, soft_wrap=True)
        return self.losses[-1] if self.losses else None


def _with_bar(yard: Client, path: str, news: _News) -> Document:
    columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("{task.fields[pace]}"), console=render.err) as progress:
        bar = progress.add_task("", total=None, pace="")

        def show(job: Document) -> None:
            so_far = job["tokenyard"]["progress"]
            progress.update(
                bar,
                description=job["status"],
                completed=so_far["step"],
                total=so_far["total_steps"],
                pace=pace(job, news.read()),
            )

        return until_ended(yard, path, show, ended=RESTING)


def _with_lines(yard: Client, path: str, news: _News) -> Document:
    plain = PlainLines()

    def show(job: Document) -> None:
        done = steps(job)
        plain.show(job["status"], f"step {done}" if done else "", pace(job, news.read()))

    return until_ended(yard, path, show, ended=RESTING)
