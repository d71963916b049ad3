"""A trainer that is killed, goes on, is stopped, and goes on again ends where one ends that never was.

With dropout, so that the random numbers must go on too. Bit for bit: on a CPU in fp32.
"""

import hashlib
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.settings import PROJECT, Settings
from tests.workers.training.token_files import write_reviews
from workers.training import reports
from workers.training.spec import LoraSettings, TrainingSpec, encode

pytestmark = [pytest.mark.engine, pytest.mark.fault, pytest.mark.timeout(240)]

SECONDS_MAX = 90  # most of it imports, on a busy machine
POLL_SECONDS = 0.005
KILLED_AFTER, STOPPED_AFTER = 4, 14  # steps, of 32


@dataclass
class Trainer:
    """A trainer as a child."""

    spec: TrainingSpec
    child: subprocess.Popen[bytes]

    def reports(self) -> list[reports.Report]:
        path = self.spec.folder / reports.FILENAME
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [reports.decode(line) for line in lines]

    def of(self, kind: Any) -> list[Any]:
        return [report for report in self.reports() if isinstance(report, kind)]

    def wait_for_step(self, step: int) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while not any(report.step >= step for report in self.of(reports.Step)):
            assert self.child.poll() is None, "the trainer ended before that step"
            assert time.monotonic() < deadline, f"no step {step} within {SECONDS_MAX} s"
            time.sleep(POLL_SECONDS)

    def newest_checkpoint(self) -> Path:
        return Path(self.of(reports.Checkpoint)[-1].path)


@dataclass
class Story:
    """The same training four times over: never interrupted, and in three parts."""

    whole: Trainer
    killed: Trainer
    stopped: Trainer
    last: Trainer


def start(spec: TrainingSpec, folder: Path, resume_from: Path | None = None) -> Trainer:
    folder.mkdir()
    told = msgspec.structs.replace(spec, folder=folder, resume_from=resume_from)
    (folder / "spec.json").write_bytes(encode(told))
    command = [Settings().gpu_interpreter(), "-m", "workers.training.trainer", folder / "spec.json"]
    with (folder / "log").open("wb") as log:
        return Trainer(told, subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log))


@pytest.fixture(scope="module")
def story(smoke_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("resume")
    write_reviews(folder / "train.tokens", smoke_model, examples=125, seed=1)
    write_reviews(folder / "valid.tokens", smoke_model, examples=10, seed=2)
    spec = TrainingSpec(
        base=str(smoke_model),
        base_id="yard-smoke",
        train=folder / "train.tokens",
        valid=folder / "valid.tokens",
        folder=folder,
        seed=3,
        n_epochs=2,
        batch_size=8,
        learning_rate=5e-3,
        warmup_steps=5,
        lora=LoraSettings(r=8, dropout=0.1),
        micro_tokens=128,
        threads=1,
        evaluate_every_steps=4,
        checkpoint_every_seconds=0.05,
    )
    whole = start(spec, folder / "whole")
    running = [whole]
    try:
        killed = start(spec, folder / "killed")
        running.append(killed)
        killed.wait_for_step(KILLED_AFTER)
        killed.child.kill()
        killed.child.wait(SECONDS_MAX)
        stopped = start(spec, folder / "stopped", killed.newest_checkpoint())
        running.append(stopped)
        stopped.wait_for_step(STOPPED_AFTER)
        stopped.child.terminate()
        stopped.child.wait(SECONDS_MAX)
        last = start(spec, folder / "last", stopped.newest_checkpoint())
        running.append(last)
        last.child.wait(SECONDS_MAX)
        whole.child.wait(SECONDS_MAX)
        yield Story(whole, killed, stopped, last)
    finally:
        for each in running:
            each.child.kill()
            each.child.wait()


def curve(*parts: Trainer) -> dict[int, tuple[float, ...]]:
    """By step, what was measured; steps that were done twice are looked at twice."""
    found: dict[int, tuple[float, ...]] = {}
    for part in parts:
        for step in part.of(reports.Step):
            values = (step.train_loss, step.grad_norm, step.learning_rate, float(step.trained_tokens))
            assert found.setdefault(step.step, values) == values
    return found


def evaluations(*parts: Trainer) -> dict[int, float]:
    return {each.step: each.valid_loss for part in parts for each in part.of(reports.Evaluation)}


def test_the_curve_is_that_of_an_uninterrupted_training(story: Story) -> None:
    assert story.killed.child.returncode == -signal.SIGKILL
    assert sorted(curve(story.whole)) == list(range(1, 33))
    assert curve(story.killed, story.stopped, story.last) == curve(story.whole)
    assert evaluations(story.killed, story.stopped, story.last) == evaluations(story.whole)


def test_the_adapter_is_too_byte_for_byte(story: Story) -> None:
    def digests(trainer: Trainer) -> dict[str, str]:
        adapter = trainer.newest_checkpoint() / "adapter"
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in adapter.iterdir()}

    assert len(digests(story.whole)) == 2
    assert digests(story.last) == digests(story.whole)


def test_a_stopped_trainer_keeps_what_it_learnt_and_ends_well(story: Story) -> None:
    assert story.stopped.child.returncode == 0
    *_, checkpoint, stopped = story.stopped.reports()
    assert isinstance(checkpoint, reports.Checkpoint)
    assert checkpoint.reason == "stopped"
    assert isinstance(stopped, reports.Stopped)
    assert stopped.step == checkpoint.step == story.last.reports()[0].step
    assert KILLED_AFTER < STOPPED_AFTER <= stopped.step < 32


def test_a_killed_trainer_goes_on_from_its_newest_checkpoint(story: Story) -> None:
    started = story.stopped.reports()[0]
    assert isinstance(started, reports.Started)
    assert started.step == int(story.killed.newest_checkpoint().name) > 0
    assert story.killed.of(reports.Finished) == []
    assert (
        story.stopped.of(reports.Checkpoint)[0].step > started.step
    )  # what it came from is not written again
