"""The preflight's figure is what a trainer takes, within 15%."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.fine_tuning.hyperparameters import resolve
from orchestrator.fine_tuning.machine import GIB, Machine
from orchestrator.fine_tuning.memory import Fits, preflight
from orchestrator.fine_tuning.model import Method
from orchestrator.models.shape import read_shape
from orchestrator.settings import PROJECT, Settings
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
    spec = TrainingSpec(
        base=str(smoke_model),
        base_id="yard-smoke",
        train=tmp_path / "train.tokens",
        folder=tmp_path,
        seed=1,
        n_epochs=1,
        batch_size=40,
        learning_rate=5e-3,
        warmup_steps=0,
        lora=LoraSettings(),
        micro_tokens=1024,
        gradient_checkpointing=gradient_checkpointing,
        threads=1,
    )
    (tmp_path / "spec.json").write_bytes(encode(spec))
    argv = launch.argv(Path(Settings().gpu_interpreter()), tmp_path / "spec.json")
    subprocess.run(argv, cwd=PROJECT, capture_output=True, check=True, timeout=SECONDS_MAX)
    said = [reports.decode(line) for line in (tmp_path / reports.FILENAME).read_bytes().splitlines()]
    peak = max(report.peak_memory_bytes for report in said if isinstance(report, reports.Step))

    numbers = replace(resolve({}, Method.SUPERVISED, facts(120), base()), batch_size=40)
    machine = Machine(cuda=False, memory_bytes=64 * GIB)
    verdict = preflight(read_shape(str(smoke_model)), numbers, facts(120, longest=40), machine)
    assert isinstance(verdict, Fits)
    assert verdict.need is not None
    assert verdict.micro_tokens == spec.micro_tokens
    assert peak == pytest.approx(verdict.need.total(), rel=0.15)
