"""What becomes of a training: it learns, stops early, goes on, or says why it cannot."""

from pathlib import Path
from typing import Any

import pytest

from tests.workers.training.programs import measure

pytestmark = pytest.mark.engine

EPOCH_STEPS = 12


@pytest.fixture(scope="module")
def trainings(smoke_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return measure("behaviour", smoke_model, tmp_path_factory.mktemp("behaviour"))


def of(reports: Any, kind: str) -> Any:
    return [report for report in reports if report["type"] == kind]


def test_the_smoke_model_learns_what_it_could_not_do(trainings: Any) -> None:
    steps = of(trainings["learning"], "step")
    assert steps[0]["train_mean_token_accuracy"] < 0.5
    assert min(step["train_mean_token_accuracy"] for step in steps[-EPOCH_STEPS:]) > 0.9
    assert steps[-1]["train_loss"] < steps[0]["train_loss"] / 10
    assert of(trainings["learning"], "evaluation")[-1]["valid_mean_token_accuracy"] > 0.95


def test_the_validation_file_is_gone_through_each_epoch_and_every_so_many_steps(trainings: Any) -> None:
    evaluations = of(trainings["learning"], "evaluation")
    assert [each["step"] for each in evaluations if each["full"]] == [12, 24, 36, 48, 60]
    assert [each["step"] for each in evaluations if not each["full"]] == [
        5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55,
    ]  # fmt: skip


def test_each_epoch_leaves_a_checkpoint_and_the_end_the_last_one(trainings: Any) -> None:
    checkpoints = of(trainings["learning"], "checkpoint")
    assert [each["step"] for each in checkpoints] == [12, 24, 36, 48, 60]
    assert [each["reason"] for each in checkpoints] == ["epoch"] * 4 + ["finished"]
    assert trainings["learning"][-1]["type"] == "finished"


def test_a_training_that_gets_no_better_stops_early(trainings: Any) -> None:
    losses = [each["valid_loss"] for each in of(trainings["early"], "evaluation")]
    last = trainings["early"][-1]
    assert last["early_stopped"]
    assert last["step"] == 2 * len(losses) < 5 * EPOCH_STEPS
    assert losses.index(min(losses)) == len(losses) - 1 - 3  # three without a better one


def test_a_loss_that_is_no_number_ends_the_training(trainings: Any) -> None:
    last = trainings["unstable"][-1]
    assert last["code"] == "training_diverged"
    assert last["step"] == len(of(trainings["unstable"], "step")) + 1
    assert "learning_rate_multiplier" in last["message"]


def test_in_bfloat16_a_training_goes_on_within_a_hundredth(trainings: Any) -> None:
    whole, stopped, resumed = (
        [step["train_loss"] for step in of(trainings["half"][name], "step")]
        for name in ("whole", "stopped", "resumed")
    )
    assert len(stopped) == 5
    assert stopped + resumed == pytest.approx(whole, abs=0.01)


def test_over_a_base_in_four_bits_a_training_learns_too(trainings: Any) -> None:
    steps = of(trainings["quantized"], "step")
    assert 0 < abs(steps[0]["train_loss"] - of(trainings["learning"], "step")[0]["train_loss"]) < 0.5
    assert min(step["train_mean_token_accuracy"] for step in steps[-EPOCH_STEPS:]) > 0.9
    assert steps[-1]["train_loss"] < steps[0]["train_loss"] / 10


def test_a_checkpoint_of_another_training_is_refused(trainings: Any) -> None:
    assert [each["type"] for each in trainings["other"]] == ["failed"]


def test_a_base_that_cannot_be_loaded_is_named(trainings: Any) -> None:
    assert trainings["no_model"][-1]["code"] == "invalid_base_model"
    assert "yard-smoke" in trainings["no_model"][-1]["message"]


def test_memory_that_runs_out_is_called_so(trainings: Any) -> None:
    assert [each["code"] for each in trainings["out_of_memory"]] == ["out_of_memory"] * 2
