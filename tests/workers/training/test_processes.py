"""Two processes train the adapter that one would: on a CPU in fp32, where gradients are summed in another
order. After that many steps the losses agree to a thousandth."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from orchestrator.settings import PROJECT, Settings
from tests.workers.training.token_files import write_reviews
from workers.training import launch, reports
from workers.training.spec import LoraSettings, TrainingSpec, encode

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

SECONDS_MAX = 100  # most of it imports, on a busy machine


def trained(spec: TrainingSpec, folder: Path, processes: int) -> list[reports.Report]:
    folder.mkdir()
    path = folder / "spec.json"
    path.write_bytes(encode(msgspec.structs.replace(spec, folder=folder)))
    argv = launch.argv(Path(Settings().gpu_interpreter()), path, processes=processes)
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=SECONDS_MAX)
    assert done.returncode == 0, done.stderr
    return [reports.decode(line) for line in (folder / reports.FILENAME).read_bytes().splitlines()]


def test_two_processes_share_each_step_and_one_of_them_speaks(smoke_model: Path, tmp_path: Path) -> None:
    write_reviews(tmp_path / "train.tokens", smoke_model, examples=41, seed=1)
    write_reviews(tmp_path / "valid.tokens", smoke_model, examples=9, seed=2)
    spec = TrainingSpec(
        base=str(smoke_model),
        base_id="yard-smoke",
        train=tmp_path / "train.tokens",
        valid=tmp_path / "valid.tokens",
        folder=tmp_path,
        seed=3,
        n_epochs=2,
        batch_size=8,  # the last step of an epoch has one example, and nothing for the second process
        learning_rate=5e-3,
        warmup_steps=2,
        lora=LoraSettings(r=8),
        micro_tokens=80,
        threads=1,
    )
    alone, together = trained(spec, tmp_path / "alone", 1), trained(spec, tmp_path / "together", 2)
    assert [type(report) for report in together] == [type(report) for report in alone]
    for one, other in zip(alone, together, strict=True):
        if isinstance(one, reports.Step) and isinstance(other, reports.Step):
            assert other.train_loss == pytest.approx(one.train_loss, rel=1e-3)
            assert other.trained_tokens == one.trained_tokens
        if isinstance(one, reports.Evaluation) and isinstance(other, reports.Evaluation):
            assert other.valid_loss == pytest.approx(one.valid_loss, rel=1e-3)
