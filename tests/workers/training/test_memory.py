"""The preflight's figure is what a trainer takes, within 15%."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from orchestrator.datasets.statistics import DatasetFacts
from orchestrator.fine_tuning.hyperparameters import resolve
from orchestrator.fine_tuning.machine import GIB, Machine
from orchestrator.fine_tuning.memory import Fits, preflight
from orchestrator.fine_tuning.model import Method
from orchestrator.models.shape import read_shape
from orchestrator.settings import PROJECT, Settings
from tests.benchmarks.training import write_tokens
from tests.orchestrator.fine_tuning.dataset_facts import base, facts
from tests.workers.training.token_files import write_reviews
from workers.training import launch, reports
from workers.training.spec import LoraSettings, TrainingSpec, encode

pytestmark = pytest.mark.engine

SECONDS_MAX = 100  # most of it imports, on a busy machine


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_a_trainer_on_a_cpu_takes_the_memory_that_it_was_said_to(
    smoke_model: Path, tmp_path: Path, gradient_checkpointing: bool
) -> None:
    write_reviews(tmp_path / "train.tokens", smoke_model, examples=120, seed=1)
    spec = structs.replace(spec_of(tmp_path, smoke_model), gradient_checkpointing=gradient_checkpointing)
    said = preflight_of(spec, facts(120, longest=40))
    assert peak_of(spec) == pytest.approx(said, rel=0.15)


def test_so_does_one_of_thirty_million_weights(tmp_path: Path) -> None:
    subprocess.run(
        [Settings().gpu_interpreter(), "-m", "tests.benchmarks.training_runs", "model", tmp_path / "base"],
        cwd=PROJECT,
        check=True,
        timeout=SECONDS_MAX,
    )
    lengths = write_tokens(tmp_path / "train.tokens", 64)
    spec = structs.replace(spec_of(tmp_path, tmp_path / "base"), batch_size=8)
    longest, mean = max(lengths), sum(lengths) // len(lengths)
    said = preflight_of(spec, facts(64, longest=longest, mean=mean))
    assert peak_of(spec) == pytest.approx(said, rel=0.15)


def spec_of(folder: Path, base: Path) -> TrainingSpec:
    return TrainingSpec(
        base=str(base),
        base_id="base",
        train=folder / "train.tokens",
        folder=folder,
        seed=1,
        n_epochs=1,
        batch_size=40,
        learning_rate=5e-3,
        warmup_steps=0,
        lora=LoraSettings(),
        micro_tokens=1024,
        threads=1,
    )


def peak_of(spec: TrainingSpec) -> int:
    """What a trainer held at most, in bytes."""
    (spec.folder / "spec.json").write_bytes(encode(spec))
    argv = launch.argv(Path(Settings().gpu_interpreter()), spec.folder / "spec.json")
    subprocess.run(argv, cwd=PROJECT, capture_output=True, check=True, timeout=SECONDS_MAX)
    said = [reports.decode(line) for line in (spec.folder / reports.FILENAME).read_bytes().splitlines()]
    return max(report.peak_memory_bytes for report in said if isinstance(report, reports.Step))


def preflight_of(spec: TrainingSpec, dataset: DatasetFacts) -> int:
    """What the preflight says of it, in bytes."""
    numbers = resolve({}, Method.SUPERVISED, dataset, base())
    numbers = replace(numbers, batch_size=spec.batch_size, lora=replace(numbers.lora, r=spec.lora.r))
    machine = Machine(cuda=False, memory_bytes=64 * GIB)
    verdict = preflight(read_shape(spec.base), numbers, dataset, machine)
    assert isinstance(verdict, Fits)
    assert verdict.need is not None
    assert verdict.micro_tokens == spec.micro_tokens
    return verdict.need.total()
