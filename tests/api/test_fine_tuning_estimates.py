"""What a fine-tuning job would be, before there is one."""

import json
from typing import Any

import pytest
from httpx2 import Response
from sqlmodel import select

from orchestrator.database.session import Database
from orchestrator.fine_tuning.model import FineTuningJob
from tests.api.conftest import Customer
from tests.api.fine_tuning_rows import JOBS
from tests.api.lines import dataset, example


def estimate(of: Customer, content: bytes | None = None, **body: Any) -> Response:
    content = dataset(20) if content is None else content
    file_id = of.file_id(content, purpose="fine-tune", filename="train.jsonl")
    return of.post(f"{JOBS}/estimate", json={"model": "tiny", "training_file": file_id} | body)


@pytest.fixture(autouse=True)
def _no_job_is_made(trainer: Customer, database: Database) -> Any:
    yield
    with database.read() as tx:
        theirs = FineTuningJob.organization_id == trainer.organization_id
        assert tx.exec(select(FineTuningJob).where(theirs)).all() == []


def test_a_good_dataset_has_numbers_a_price_and_a_time(trainer: Customer) -> None:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 5}}}
    found = estimate(trainer, method=method).json()
    assert found["object"] == "fine_tuning.job.estimate"
    assert (found["trainable"], found["error"], found["report_file"]) == (True, None, None)
    assert (found["bad_examples"], found["problems"]) == (0, [])
    assert (found["training"]["n_epochs"], found["training"]["batch_size"]) == (3, 5)
    assert found["lora"]["r"] == 16
    quote = found["estimate"]
    assert (quote["examples"], quote["total_steps"]) == (20, 12)
    assert quote["trained_tokens"] == 3 * quote["tokens_per_epoch"] > 0
    assert quote["cost_micros"] == quote["trained_tokens"] * 1_000, "1,000 dollars a million tokens"
    assert quote["memory_available_bytes"] > 0


def test_a_validation_file_is_read_too(trainer: Customer) -> None:
    valid = trainer.dataset_id(5)
    quote = estimate(trainer, validation_file=valid).json()["estimate"]
    assert (quote["examples"], quote["validation_examples"]) == (20, 5)
    assert "in the training file too" in quote["warnings"][0]


def test_long_examples_are_cut_off_and_counted(trainer: Customer) -> None:
    long = {"prompt": "hello", "completion": "world " * 100}
    content = dataset(11) + json.dumps(long).encode() + b"\n"
    method = {"type": "supervised", "supervised": {"tokenyard": {"example_tokens_max": 40}}}
    found = estimate(trainer, content, method=method).json()
    assert found["training"]["example_tokens_max"] == 40
    assert (found["estimate"]["truncated_examples"], found["estimate"]["example_tokens"]["longest"]) == (
        1,
        40,
    )
    assert "cut off at their end" in found["estimate"]["warnings"][0]


def test_nine_examples_are_too_few(trainer: Customer) -> None:
    found = estimate(trainer, dataset(9)).json()
    assert found["trainable"] is False
    assert found["error"] == {
        "code": "invalid_n_examples",
        "message": "Training file has 9 example(s), but must have at least 10 examples",
        "param": "training_file",
    }


def test_every_problem_is_in_the_report_and_the_first_in_the_answer(trainer: Customer) -> None:
    bad = [
        {"messages": [{"role": "user", "content": "x"}]},
        {"messages": [{"role": "oracle", "content": "x"}, {"role": "assistant", "content": "y"}]},
        {"messages": [{"role": "assistant", "content": "y", "weight": 2}]},
    ]
    lines = [json.dumps(each).encode() + b"\n" for each in bad]
    content = dataset(10) + b"".join(lines) + b"not json\n" * 150 + example(1)
    found = estimate(trainer, content).json()
    assert (found["trainable"], found["bad_examples"], len(found["problems"])) == (False, 153, 100)
    assert [(p["line"], p["code"]) for p in found["problems"][:4]] == [
        (11, "no_assistant_message"),
        (12, "invalid_value"),
        (13, "invalid_value"),
        (14, "invalid_json_line"),
    ]
    assert found["problems"][2]["path"] == "$.messages[0].weight"
    assert found["error"]["param"] == "training_file"
    assert found["estimate"]["examples"] == 11, "of those that can be learnt from"
    report = trainer.get(f"/v1/files/{found['report_file']}/content").text
    assert len(report.splitlines()) == 153
    kept = trainer.get(f"/v1/files/{found['report_file']}").json()
    assert (kept["purpose"], kept["expires_at"] - kept["created_at"]) == ("fine-tune-results", 3600)


def test_a_dataset_of_nothing_good_has_no_estimate(trainer: Customer) -> None:
    found = estimate(trainer, b"not json\n").json()
    assert (found["trainable"], found["estimate"], found["training"]) == (False, None, None)


def test_the_bounds_are_those_of_a_job(trainer: Customer) -> None:
    hyperparameters = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 51}}}
    for body, param in (
        ({"model": "org/large"}, "model"),
        ({"validation_file": "file-unknown"}, "validation_file"),
        ({"method": hyperparameters}, "method.supervised.hyperparameters.n_epochs"),
    ):
        refused = estimate(trainer, **body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_without_the_base_s_tokenizer_the_yard_says_so(trainer: Customer) -> None:
    away = estimate(trainer, model="yard-smoke")
    error = away.json()["error"]
    assert (away.status_code, error["code"], error["param"]) == (400, "invalid_base_model", "model")
    assert "tokenizer of yard-smoke is not on this machine" in error["message"]
