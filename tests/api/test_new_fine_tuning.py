"""Which fine-tuning jobs can be, and what is said of those that cannot."""

from typing import Any

import pytest
from sqlmodel import col, func, select

from orchestrator.database.session import Database
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.jobs.model import Job
from tests.api.conftest import Customer, make_customer
from tests.api.fine_tuning_rows import JOBS


def count_jobs(database: Database, customer: Customer) -> tuple[int, int]:
    """The rows of fine-tuning jobs and of the queue that the organization has."""
    with database.read() as tx:
        rows = [
            tx.exec(
                select(func.count()).select_from(table).where(col(owner) == customer.organization_id)
            ).one()
            for table, owner in ((FineTuningJob, FineTuningJob.organization_id), (Job, Job.organization_id))
        ]
    return rows[0], rows[1]


def test_a_new_job_has_openai_s_shape_and_our_additions(trainer: Customer) -> None:
    file_id = trainer.dataset_id()
    answer = trainer.create_fine_tuning(
        training_file=file_id,
        suffix="topics",
        seed=7,
        metadata={"team": "search"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}, "lora": {"r": 8}}},
    )
    job = answer.json()
    assert answer.status_code == 200, answer.text
    assert (job["object"], job["status"], job["model"]) == (
        "fine_tuning.job",
        "validating_files",
        "yard-smoke",
    )
    assert (job["training_file"], job["seed"], job["metadata"]) == (file_id, 7, {"team": "search"})
    assert job["organization_id"] == trainer.organization_id
    assert (job["result_files"], job["integrations"]) == ([], [])
    numbers = {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert job["hyperparameters"] == numbers
    assert job["method"] == {"type": "supervised", "supervised": {"hyperparameters": numbers}}
    absent = ("error", "fine_tuned_model", "finished_at", "trained_tokens", "estimated_finish")
    assert [job[name] for name in absent] == [None] * len(absent)
    ours = job["tokenyard"]
    assert (ours["tier"], ours["queue"], ours["cost"]["charged"]) == ("enterprise", None, False)
    assert ours["progress"]["step"] == 0


def test_a_seed_is_made_where_none_is_given(trainer: Customer) -> None:
    seeds = {trainer.create_fine_tuning().json()["seed"] for _ in range(2)}
    assert len(seeds) == 2
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_preference_job_shows_beta_and_older_hyperparameters_still_count(trainer: Customer) -> None:
    dpo = trainer.create_fine_tuning(method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.5}}}).json()
    assert dpo["method"]["dpo"]["hyperparameters"]["beta"] == 0.5
    assert "beta" not in dpo["hyperparameters"]
    older = trainer.create_fine_tuning(hyperparameters={"n_epochs": 4, "batch_size": "auto"}).json()
    assert older["method"]["supervised"]["hyperparameters"]["n_epochs"] == 4


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}}


def adapter(**lora: Any) -> dict[str, Any]:
    return {"method": {"type": "supervised", "supervised": {"lora": lora}}}


NUMBERS = "method.supervised.hyperparameters."

BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "no-such-model"}, "model", "does not exist"),
    ({"model": "org/large"}, "model", "cannot be fine-tuned here. Models that can be: yard-smoke, tiny."),
    ({"model": "ft:yard-smoke:acme::abcdefgh"}, "model", "from base models only"),
    ({"training_file": "file-unknown"}, "training_file", "does not exist"),
    ({"validation_file": "file-unknown"}, "validation_file", "does not exist"),
    ({"suffix": "s" * 65}, "suffix", "1 to 64"),
    ({"suffix": ""}, "suffix", "1 to 64"),
    ({"suffix": "a:b"}, "suffix", "letters"),
    ({"seed": -1}, "seed", "from 0"),
    ({"seed": 2**31}, "seed", "2147483647"),
    ({"seed": 1.5}, "seed", "integer"),
    ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "at most 16 pairs, found 17"),
    ({"metadata": {"k": 1}}, "metadata.k", "string"),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations", "not supported"),
    ({"method": {"type": "reinforcement", "reinforcement": {"grader": {}}}}, "method.type", "not supported"),
    ({"method": {"type": "guess"}}, "method.type", "'supervised', 'dpo'"),
    ({"method": {"type": "dpo", "supervised": {}}}, "method", "Unknown parameter"),
    (supervised(n_epochs=51), NUMBERS + "n_epochs", "50"),
    (supervised(n_epochs=0), NUMBERS + "n_epochs", "1"),
    (supervised(n_epochs="many"), NUMBERS + "n_epochs", "1 to 50, or 'auto'"),
    (supervised(batch_size=257), NUMBERS + "batch_size", "256"),
    (supervised(batch_size=True), NUMBERS + "batch_size", "1 to 256, or 'auto'"),
    (supervised(learning_rate_multiplier=0), NUMBERS + "learning_rate_multiplier", "0"),
    (supervised(learning_rate_multiplier="2"), NUMBERS + "learning_rate_multiplier", "above 0"),
    (supervised(beta=0.1), NUMBERS + "beta", "Unknown parameter"),
    (
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}},
        "method.dpo.hyperparameters.beta",
        "2",
    ),
    (adapter(r=64), "method.supervised.lora.r", "32"),
    (adapter(r=0), "method.supervised.lora.r", "32"),
    (adapter(rank=8), "method.supervised.lora.rank", "Unknown parameter"),
    (adapter(target_modules=["q_proj\0"]), "method.supervised.lora.target_modules", "name of a module"),
    (
        {"method": {"type": "supervised", "supervised": {"tokenyard": {"early_stopping_patience": 2}}}},
        "method.supervised.tokenyard.early_stopping_patience",
        "Add a 'validation_file'",
    ),
    ({"n_epochs": 3}, "n_epochs", "Unknown parameter"),
]


@pytest.mark.parametrize(("body", "param", "words"), BAD)
def test_a_job_that_cannot_be_is_a_400_and_leaves_nothing(
    trainer: Customer, database: Database, body: dict[str, Any], param: str, words: str
) -> None:
    file_id = trainer.dataset_id()
    answer = trainer.create_fine_tuning(**{"training_file": file_id} | body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert words in error["message"]
    assert count_jobs(database, trainer) == (0, 0)


def test_hyperparameters_given_twice_must_not_differ(trainer: Customer) -> None:
    body = supervised(n_epochs=2)
    assert trainer.create_fine_tuning(**body, hyperparameters={"n_epochs": 2}).status_code == 200
    differ = trainer.create_fine_tuning(**body, hyperparameters={"n_epochs": 3})
    assert "given twice, and differ" in differ.json()["error"]["message"]


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_dataset_must_have_been_uploaded_as_one(trainer: Customer, database: Database, param: str) -> None:
    answer = trainer.create_fine_tuning(**{param: trainer.file_id()})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert "purpose 'batch'; a dataset needs purpose 'fine-tune'" in answer.json()["error"]["message"]
    assert count_jobs(database, trainer) == (0, 0)


@pytest.mark.parametrize("tier", ["free", "developer"])
@pytest.mark.parametrize("path", [JOBS, f"{JOBS}/estimate"])
def test_a_tier_without_fine_tuning_is_a_403_that_names_the_one_that_has_it(
    customer: Customer, database: Database, tier: str, path: str
) -> None:
    theirs = make_customer(customer.http, database, tier=tier)
    body = {"model": "yard-smoke", "training_file": theirs.dataset_id()}
    refused = theirs.post(path, json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (403, "not_available_for_plan")
    assert error["message"] == (
        f"LoRA fine-tuning is not available on the {tier.title()} tier (fine_tuning: false). "
        "The Enterprise tier (By contract; yard-smoke at $0.50 per million trained tokens) has it."
    )
    assert refused.headers["x-should-retry"] == "false"
    assert count_jobs(database, theirs) == (0, 0)


def test_live_jobs_are_bounded_until_one_ends(trainer: Customer) -> None:
    file_id = trainer.dataset_id()
    first, *_ = (trainer.fine_tuning_id(training_file=file_id) for _ in range(4))
    refused = trainer.create_fine_tuning(training_file=file_id)
    assert refused.status_code == 429
    assert "Limit 4, Used 4, Requested 1" in refused.json()["error"]["message"]
    trainer.post(f"{JOBS}/{first}/cancel")
    assert trainer.create_fine_tuning(training_file=file_id).status_code == 200


def test_the_same_idempotency_key_makes_one_job(trainer: Customer, database: Database) -> None:
    body = {"model": "yard-smoke", "training_file": trainer.dataset_id(), "seed": 1}
    headers = {"idempotency-key": "once"}
    made = [trainer.post(JOBS, json=body, headers=headers).json()["id"] for _ in range(2)]
    assert made[0] == made[1]
    assert count_jobs(database, trainer) == (1, 1)
    other = trainer.post(JOBS, json=body | {"seed": 2}, headers=headers)
    assert other.status_code == 409
