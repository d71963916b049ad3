from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.datasets.preparation import PreparedDataset
from orchestrator.datasets.problems import DatasetFile, ExampleCode, ExampleProblem
from orchestrator.fine_tuning import plan as plans
from orchestrator.fine_tuning.machine import GIB, Machine
from orchestrator.fine_tuning.model import Method
from orchestrator.fine_tuning.plan import Plan, Refusal, dataset_spec, plan, refused_by_its_files
from tests.orchestrator.fine_tuning.dataset_facts import base, facts, qwen3_8b

GPU = Machine(cuda=True, memory_bytes=80 * GIB)
CPU = Machine(cuda=False, memory_bytes=8 * GIB)


def prepared(*problems: ExampleProblem, bad_examples: int = 0) -> PreparedDataset:
    return PreparedDataset(
        train=facts(300),
        valid=facts(20),
        train_tokens=Path("train.tokens"),
        valid_tokens=Path("valid.tokens"),
        report=Path("report.jsonl"),
        problems=len(problems),
        bad_examples=bad_examples,
        first_problems=problems,
        shared_examples=0,
        warnings=("It is short.",),
    )


def planned(machine: Machine = GPU, *, price_micros: int = 500_000, pace: float | None = None) -> Plan:
    return plan(
        {},
        Method.SUPERVISED,
        prepared(),
        spec=base(),
        price_micros=price_micros,
        machine=machine,
        tokens_per_second=pace,
    )


@pytest.fixture(autouse=True)
def _known_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "read_shape", lambda _: qwen3_8b())


def test_a_plan_has_every_number_that_runs():
    numbers = planned().hyperparameters
    assert numbers["dtype"] == "bfloat16"
    assert (numbers["micro_tokens"], numbers["gradient_checkpointing"]) == (16_384, False)
    assert (numbers["n_epochs"], numbers["batch_size"], planned().total_steps) == (4, 8, 152)
    assert planned().lora["r"] == 16


def test_a_cpu_trains_in_full_precision():
    machine = replace(CPU, memory_bytes=64 * GIB)
    assert planned(machine).hyperparameters["dtype"] == "float32"


def test_the_estimate_says_what_it_costs_and_what_it_counts():
    told = planned(price_micros=1_000_000).estimate
    assert (told["examples"], told["validation_examples"], told["total_steps"]) == (300, 20, 152)
    assert (told["tokens_per_epoch"], told["trained_tokens"]) == (15_000, 60_000)
    assert (told["cost_micros"], told["cost"]) == (60_000, 0.06)  # at $1.00 a million
    assert (told["fits"], told["warnings"]) == (True, ["It is short."])
    assert 0 < told["memory_needed_bytes"] < told["memory_available_bytes"] == 80 * GIB


def test_the_time_is_that_of_earlier_trainings_or_a_guess_that_says_so():
    measured, guessed = planned(pace=1_000.0).estimate, planned().estimate
    # 60,000 tokens trained and 4,000 looked at in half the time each, after ten seconds
    assert measured["duration_seconds"] == pytest.approx(10 + 62)
    assert "Earlier trainings" in measured["duration_basis"]
    assert "A guess" in guessed["duration_basis"]
    assert guessed["duration_seconds"] is not None


def test_without_the_models_files_neither_time_nor_memory_is_known(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plans, "read_shape", lambda _: None)
    told = planned().estimate
    assert (told["duration_seconds"], told["memory_needed_bytes"], told["fits"]) == (None, None, True)
    assert "its size is not known here" in told["duration_basis"]


def test_what_does_not_fit_is_refused_with_its_estimate():
    found = planned(CPU)
    assert found.refusal is not None
    assert found.refusal.code == "insufficient_memory"
    assert found.estimate["fits"] is False


def test_a_file_without_problems_is_not_refused():
    assert refused_by_its_files(prepared()) is None


def test_too_few_examples_are_the_jobs_own_error():
    few = ExampleProblem(
        DatasetFile.TRAINING, None, ExampleCode.INVALID_N_EXAMPLES, "Training file has 3 …", "training_file"
    )
    assert refused_by_its_files(prepared(few)) == Refusal(
        "invalid_n_examples", "Training file has 3 …", "training_file"
    )


def test_bad_examples_are_counted_and_the_first_is_told():
    bad = ExampleProblem(DatasetFile.VALIDATION, 7, ExampleCode.INVALID_VALUE, "Invalid value: 2.")
    refusal = refused_by_its_files(prepared(bad, bad, bad_examples=2))
    assert refusal is not None
    assert (refusal.code, refusal.param) == ("invalid_validation_file", "validation_file")
    assert refusal.message.startswith(
        "2 examples cannot be learnt from. Line 7 of the validation file: Invalid"
    )
    assert "report file" in refusal.message


def test_a_model_whose_tokenizer_is_elsewhere_cannot_read_datasets(tmp_path: Path):
    found = dataset_spec(
        {}, Method.SUPERVISED, spec=base(), train=tmp_path / "t", valid=None, folder=tmp_path
    )
    assert isinstance(found, Refusal)
    assert found.code == "invalid_base_model"
