"""A fine-tuning job from its dataset to a batch that uses it, through the official client, on a real trainer
and a real vLLM."""

import csv
from random import Random

import httpx
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.customer import done, output, submit
from tests.fine_tuner import (
    MODEL,
    ask,
    charges,
    digest,
    events,
    exactly_right,
    extra,
    job_when,
    losses,
    review,
    tune,
    tuned,
    upload,
)
from tests.yard_process import YardProcess, until

pytestmark = [pytest.mark.engine, pytest.mark.prefect, pytest.mark.timeout(600)]

EPOCHS = 12  # long enough to be stopped in the middle
PRICE_MICROS = 500_000  # of the smoke model, for a million trained tokens


@pytest.fixture(scope="module")
def dataset(enterprise: openai.OpenAI) -> str:
    """300 examples of the task."""
    return upload(enterprise)


@pytest.fixture(scope="module")
def job(enterprise: openai.OpenAI, yard: YardProcess, dataset: str) -> FineTuningJob:
    """A job with everything left to the yard, succeeded."""
    validation = upload(enterprise, seed=12, examples=40)
    return tuned(enterprise, yard, tune(enterprise, dataset, validation_file=validation))


@pytest.fixture(scope="module")
def undisturbed(enterprise: openai.OpenAI, yard: YardProcess, dataset: str) -> FineTuningJob:
    """The longer job, from its first step to its last without a stop."""
    return tuned(enterprise, yard, tune(enterprise, dataset, epochs=EPOCHS))


def test_the_loss_falls_step_by_step(enterprise: openai.OpenAI, job: FineTuningJob) -> None:
    falling = losses(enterprise, job)
    assert len(falling) == extra(job, "progress")["total_steps"]
    assert sum(falling[-10:]) < 0.02 * sum(falling[:10])


def test_it_tells_its_life_in_openais_words(enterprise: openai.OpenAI, job: FineTuningJob) -> None:
    said = [event.message for event in events(enterprise, job) if event.type == "message"]
    assert said[0] == f"Created fine-tuning job: {job.id}"
    assert said[-2:] == [
        f"New fine-tuned model created: {job.fine_tuned_model}",
        "The job has successfully completed",
    ]
    assert "Fine-tuning job started" in said


def test_it_keeps_its_last_three_checkpoints_each_validated(
    enterprise: openai.OpenAI, job: FineTuningJob
) -> None:
    found = enterprise.fine_tuning.jobs.checkpoints.list(job.id).data
    steps = extra(job, "progress")["total_steps"]
    assert [one.step_number for one in found] == [steps, steps * 3 // 4, steps // 2]
    for one in found:
        assert one.metrics.full_valid_loss is not None
        assert one.metrics.full_valid_loss < 0.5


def test_its_metrics_are_a_csv_with_a_line_for_each_step(
    enterprise: openai.OpenAI, job: FineTuningJob
) -> None:
    (file,) = job.result_files
    rows = [*csv.DictReader(enterprise.files.content(file).text.splitlines())]
    assert [float(row["train_loss"]) for row in rows] == losses(enterprise, job)


def test_every_trained_token_is_charged_once(yard: YardProcess, job: FineTuningJob) -> None:
    (charge,) = charges(yard, job)
    estimate = extra(job, "estimate")
    assert charge.trained_tokens == job.trained_tokens == estimate["trained_tokens"]
    assert charge.cost_micros == round(charge.trained_tokens * PRICE_MICROS / 1e6) == estimate["cost_micros"]
    assert extra(job, "cost") == {"amount_micros": charge.cost_micros, "currency": "usd", "charged": True}


def test_its_flow_run_is_completed_and_shows_the_curve(yard: YardProcess, job: FineTuningJob) -> None:
    url = extra(job, "flow_run_url")
    run_id = url.rpartition("/")[2]

    def ended() -> bool:
        return bool(yard.prefect("GET", f"/flow_runs/{run_id}")["end_time"])

    until(ended, seconds=30, what="the run's end in Prefect")
    run = yard.prefect("GET", f"/flow_runs/{run_id}")
    assert (run["name"], run["state"]["type"]) == (job.id, "COMPLETED")
    assert set(run["tags"]) == {"organization:demo-enterprise", "tier:enterprise", f"model:{MODEL}"}
    assert httpx.get(url, trust_env=False, headers={"Accept": "text/html"}).status_code == httpx.codes.OK
    shown = yard.prefect("POST", "/artifacts/filter", artifacts={"flow_run_id": {"any_": [run_id]}})
    by_key = {artifact["key"].removeprefix(f"{job.id}-"): artifact["data"] for artifact in shown}
    assert by_key[job.id] == 100.0
    assert f"| {extra(job, 'progress')['total_steps']} |" in by_key["loss"]
    assert job.fine_tuned_model in by_key["result"]


def test_a_batch_alternates_between_the_base_and_the_new_model(
    enterprise: openai.OpenAI, yard: YardProcess, job: FineTuningJob
) -> None:
    rng = Random(4242)
    asked = [review(rng) for _ in range(60)]
    models = [MODEL, job.fine_tuned_model or ""]
    sent = [ask(number, question, models[number % 2]) for number, (question, _) in enumerate(asked)]
    answers = output(enterprise, done(enterprise, yard, submit(enterprise, sent)))
    expected = [answer for _, answer in asked]
    assert exactly_right(answers[0::2], expected[0::2]) <= 0.05
    assert exactly_right(answers[1::2], expected[1::2]) >= 0.9


def test_the_new_model_is_tried_in_a_chat(enterprise: openai.OpenAI, job: FineTuningJob) -> None:
    question, expected = review(Random(77))
    patient = enterprise.with_options(max_retries=5)  # its engine may just be coming back
    body = ask(0, question, job.fine_tuned_model or "")["body"]
    stream = patient.chat.completions.create(**body, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream).strip() == expected


def test_a_pause_changes_nothing_of_the_result(
    enterprise: openai.OpenAI, yard: YardProcess, dataset: str, undisturbed: FineTuningJob
) -> None:
    job = job_when(enterprise, yard, tune(enterprise, dataset, epochs=EPOCHS), "running", step=10)
    assert enterprise.fine_tuning.jobs.pause(job.id).status in ("pausing", "paused")
    paused = job_when(enterprise, yard, job, "paused")
    assert 10 <= extra(paused, "progress")["step"] < extra(paused, "progress")["total_steps"]
    enterprise.fine_tuning.jobs.resume(job.id)
    job = tuned(enterprise, yard, job)
    assert digest(yard, job.fine_tuned_model) == digest(yard, undisturbed.fine_tuned_model)
    assert losses(enterprise, job) == losses(enterprise, undisturbed)
    assert [charge.trained_tokens for charge in charges(yard, job)] == [undisturbed.trained_tokens]


def test_a_cancelled_job_keeps_checkpoints_that_are_models(
    enterprise: openai.OpenAI, yard: YardProcess, dataset: str
) -> None:
    job = job_when(enterprise, yard, tune(enterprise, dataset, epochs=50), "running", step=80)
    assert enterprise.fine_tuning.jobs.cancel(job.id).status == "cancelling"
    job = job_when(enterprise, yard, job, "cancelled")
    newest, *_ = enterprise.fine_tuning.jobs.checkpoints.list(job.id).data
    (charge,) = charges(yard, job)
    assert charge.trained_tokens == job.trained_tokens
    asked = [review(Random(number)) for number in range(8)]
    sent = [
        ask(number, question, newest.fine_tuned_model_checkpoint)
        for number, (question, _) in enumerate(asked)
    ]
    answers = output(enterprise, done(enterprise, yard, submit(enterprise, sent)))
    assert exactly_right(answers, [answer for _, answer in asked]) >= 0.5


def test_cancelling_the_run_on_prefects_pages_cancels_the_job(
    enterprise: openai.OpenAI, yard: YardProcess, dataset: str
) -> None:
    job = job_when(enterprise, yard, tune(enterprise, dataset, epochs=50), "running", step=1)
    run_id = extra(job, "flow_run_url").rpartition("/")[2]
    yard.prefect("POST", f"/flow_runs/{run_id}/set_state", state={"type": "CANCELLING"})
    job_when(enterprise, yard, job, "cancelled")
    until(
        lambda: yard.prefect("GET", f"/flow_runs/{run_id}")["state"]["type"] == "CANCELLED",
        seconds=30,
        what="a cancelled run",
    )


def test_a_dataset_with_a_bad_example_fails_with_its_line(
    enterprise: openai.OpenAI, yard: YardProcess
) -> None:
    good = '{"prompt": "2 + 2?", "completion": "4"}\n'
    file = enterprise.files.create(file=("bad.jsonl", (good * 10 + "{}\n").encode()), purpose="fine-tune")
    job = job_when(enterprise, yard, tune(enterprise, file.id), "failed")
    assert job.error is not None
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert "Line 11" in job.error.message
    report = enterprise.files.content(extra(job, "report_file")).text.splitlines()
    assert len(report) == 1
    assert charges(yard, job) == []
