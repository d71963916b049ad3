"""Fine-tuning jobs as a customer sees them, up to where a trainer is needed."""

from typing import Any

import pytest

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.fine_tuning import events
from orchestrator.fine_tuning.events import StepMetrics
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.states import FineTuningStatus
from tests.api.conftest import Customer
from tests.api.fine_tuning_rows import JOBS, change, checkpoint, queued


def test_a_dataset_of_a_live_job_cannot_be_deleted(trainer: Customer) -> None:
    file_id = trainer.dataset_id()
    job_id = trainer.fine_tuning_id(training_file=file_id)
    refused = trainer.delete(f"/v1/files/{file_id}")
    assert (refused.status_code, job_id in refused.text) == (409, True)
    trainer.post(f"{JOBS}/{job_id}/cancel")
    assert trainer.delete(f"/v1/files/{file_id}").status_code == 200


def test_a_queued_job_says_its_place_and_when_it_may_start(trainer: Customer, database: Database) -> None:
    first, second = (queued(database, trainer) for _ in range(2))
    places = [trainer.get(f"{JOBS}/{job_id}").json()["tokenyard"]["queue"] for job_id in (first, second)]
    assert places[1]["position"] == places[0]["position"] + 1
    assert places[1]["estimated_start"] - places[0]["estimated_start"] == pytest.approx(60, abs=1)
    for job_id in (first, second):
        trainer.post(f"{JOBS}/{job_id}/cancel")


def test_a_job_is_paused_resumed_and_cancelled(trainer: Customer, database: Database) -> None:
    job_id = queued(database, trainer)

    def ask(verb: str) -> tuple[int, str | None]:
        answer = trainer.post(f"{JOBS}/{job_id}/{verb}")
        return answer.status_code, answer.json().get("status")

    assert [ask(verb) for verb in ("pause", "pause", "resume", "resume", "cancel", "cancel")] == [
        (200, "paused"),
        (200, "paused"),
        (200, "queued"),
        (200, "queued"),
        (200, "cancelled"),
        (200, "cancelled"),
    ]
    assert (ask("pause")[0], ask("resume")[0]) == (409, 409)


def test_a_running_job_is_first_asked_to_stop(trainer: Customer, database: Database) -> None:
    job_id = queued(database, trainer)
    change(database, job_id, status=FineTuningStatus.RUNNING, running_at=clock.now())
    assert trainer.post(f"{JOBS}/{job_id}/pause").json()["status"] == "pausing"
    cancelling = trainer.post(f"{JOBS}/{job_id}/cancel").json()
    assert (cancelling["status"], cancelling["finished_at"]) == ("cancelling", None)
    assert cancelling["tokenyard"]["cancelling_at"]


@pytest.mark.parametrize(
    ("status", "verbs"),
    [
        (FineTuningStatus.VALIDATING_FILES, ("pause", "resume")),
        (FineTuningStatus.SUCCEEDED, ("cancel", "pause", "resume")),
        (FineTuningStatus.FAILED, ("cancel", "pause", "resume")),
        (FineTuningStatus.CANCELLED, ("pause", "resume")),
        (FineTuningStatus.CANCELLING, ("pause", "resume")),
        (FineTuningStatus.PAUSING, ("resume",)),
    ],
)
def test_what_a_status_forbids_is_a_409_that_names_it(
    trainer: Customer, database: Database, status: FineTuningStatus, verbs: tuple[str, ...]
) -> None:
    job_id = trainer.fine_tuning_id()
    change(database, job_id, status=status)
    for verb in verbs:
        refused = trainer.post(f"{JOBS}/{job_id}/{verb}")
        assert refused.status_code == 409
        assert refused.json()["error"]["message"] == (
            f"Cannot {verb} a fine-tuning job with status '{status}'."
        )
        assert refused.headers["x-should-retry"] == "false"


def test_a_running_job_says_how_far_it_is_and_when_it_ends(trainer: Customer, database: Database) -> None:
    job_id = queued(database, trainer)
    change(
        database,
        job_id,
        status=FineTuningStatus.RUNNING,
        hyperparameters={"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0, "warmup_steps": 9},
        lora={"r": 16, "alpha": 32},
        step=20,
        steps_per_second=4.0,
        trained_tokens=500,
        peak_memory_bytes=123,
        flow_run_id="run-1",
    )
    job = trainer.get(f"{JOBS}/{job_id}").json()
    ours = job["tokenyard"]
    assert ours["progress"] == {
        "step": 20,
        "total_steps": 100,
        "trained_tokens": 500,
        "steps_per_second": 4.0,
        "eta_seconds": 20,
        "waiting_for": None,
    }
    assert job["estimated_finish"] == pytest.approx(clock.unix(clock.now()) + 20, abs=2)
    assert job["trained_tokens"] is None
    resolved = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert job["hyperparameters"] == job["method"]["supervised"]["hyperparameters"] == resolved
    assert (ours["lora"], ours["training"]["warmup_steps"]) == ({"r": 16, "alpha": 32}, 9)
    assert (ours["peak_memory_bytes"], ours["queue"]) == (123, None)
    assert ours["flow_run_url"].endswith("/runs/flow-run/run-1")


def test_an_ended_job_shows_its_model_files_tokens_and_cost(trainer: Customer, database: Database) -> None:
    job_id = queued(database, trainer)
    change(
        database,
        job_id,
        status=FineTuningStatus.SUCCEEDED,
        succeeded_at=clock.now(),
        fine_tuned_model="ft:yard-smoke:acme::abcdefgh",
        result_file_id="file-metrics",
        trained_tokens=2_000_000,
        cost_micros=1_000_000,
    )
    job = trainer.get(f"{JOBS}/{job_id}").json()
    assert (job["fine_tuned_model"], job["result_files"]) == (
        "ft:yard-smoke:acme::abcdefgh",
        ["file-metrics"],
    )
    assert (job["trained_tokens"], job["error"]) == (2_000_000, None)
    assert job["finished_at"] >= job["created_at"]
    assert job["tokenyard"]["cost"] == {"amount_micros": 1_000_000, "currency": "usd", "charged": True}


def test_a_failed_job_carries_its_error_and_report(trainer: Customer, database: Database) -> None:
    job_id = trainer.fine_tuning_id()
    error = {"code": "invalid_n_examples", "message": "Too few.", "param": "training_file"}
    change(
        database,
        job_id,
        status=FineTuningStatus.FAILED,
        failed_at=clock.now(),
        error=error,
        report_file_id="file-r",
    )
    job = trainer.get(f"{JOBS}/{job_id}").json()
    assert (job["error"], job["tokenyard"]["report_file"]) == (error, "file-r")


def test_events_come_newest_first_or_on_from_the_last_seen(trainer: Customer, database: Database) -> None:
    job_id = queued(database, trainer)
    metrics = [
        StepMetrics(
            step=step,
            epoch=step / 10,
            train_loss=2.0 / step,
            train_mean_token_accuracy=0.5,
            learning_rate=1e-3,
            grad_norm=1.0,
            trained_tokens=step,
        )
        for step in (1, 2, 3)
    ]
    with database.transaction() as tx:
        events.record(tx, tx.get_one(FineTuningJob, job_id), metrics)
    path = f"{JOBS}/{job_id}/events"
    page = trainer.get(path, params={"limit": 2}).json()
    assert ([event["data"]["step"] for event in page["data"]], page["has_more"]) == ([3, 2], True)
    newest = page["data"][0]
    assert (newest["object"], newest["type"], newest["level"]) == ("fine_tuning.job.event", "metrics", "info")
    assert newest["message"] == "Step 3/100: training loss=0.6667"
    older = trainer.get(path, params={"after": page["last_id"]}).json()["data"]
    assert [event["data"].get("step") for event in older] == [1, None, None]
    assert older[-1]["message"] == f"Created fine-tuning job: {job_id}"
    seen = older[0]["id"]
    news = trainer.get(path, params={"after": seen, "order": "asc"}).json()["data"]
    assert [event["data"]["step"] for event in news] == [2, 3]


def test_checkpoints_are_listed_newest_first(trainer: Customer, database: Database) -> None:
    job_id = queued(database, trainer)
    made = [checkpoint(database, job_id, step) for step in (10, 20)]
    page = trainer.get(f"{JOBS}/{job_id}/checkpoints").json()
    assert [row["id"] for row in page["data"]] == made[::-1]
    newest = page["data"][0]
    assert newest["fine_tuned_model_checkpoint"].endswith(":ckpt-step-20")
    assert (newest["fine_tuning_job_id"], newest["step_number"]) == (job_id, 20)
    assert newest["metrics"] == {"step": 20, "train_loss": 0.05}


def test_jobs_are_listed_by_page_and_by_metadata(trainer: Customer) -> None:
    file_id = trainer.dataset_id()
    plain, red, blue = (
        trainer.fine_tuning_id(training_file=file_id, metadata=pairs)
        for pairs in (None, {"color": "red", "size": ""}, {"color": "blue"})
    )

    def listed(**params: Any) -> list[str]:
        return [job["id"] for job in trainer.get(JOBS, params=params).json()["data"]]

    assert listed() == [blue, red, plain]
    assert listed(limit=1, after=blue) == [red]
    assert listed(**{"metadata[color]": "red"}) == listed(**{"metadata[size]": ""}) == [red]
    assert listed(**{"metadata[color]": "blue", "metadata[size]": ""}) == []
    assert listed(metadata="null") == [plain]
    for refused in ({"metadata": "x"}, {"metadata": "null", "metadata[a]": "b"}):
        assert trainer.get(JOBS, params=refused).json()["error"]["param"] == "metadata"


def test_every_route_answers_under_groq_s_prefix_too(trainer: Customer) -> None:
    job_id = trainer.fine_tuning_id()
    assert trainer.get(f"/openai{JOBS}/{job_id}").json() == trainer.get(f"{JOBS}/{job_id}").json()
