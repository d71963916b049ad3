"""The official `openai` package's fine-tuning calls over a real socket, as far as no trainer is needed."""

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from httpx2 import Request
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from orchestrator.files.model import File, Purpose
from orchestrator.fine_tuning import events
from orchestrator.fine_tuning import model as rows
from orchestrator.fine_tuning.events import StepMetrics
from tests.api.fine_tuning_rows import change, checkpoint, make_queued
from tests.api.lines import dataset
from tests.contracts.conftest import ServedYard

pytestmark = pytest.mark.server

CSV = b"step,train_loss\n1,0.5\n"


@pytest.fixture
def requests() -> list[Request]:
    """Everything that the client has sent."""
    return []


@pytest.fixture
def client(enterprise_yard: ServedYard, requests: list[Request]) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(event_hooks={"request": [requests.append]}, trust_env=False)
    base_url, key = f"{enterprise_yard.url}/v1", enterprise_yard.key
    with openai.OpenAI(base_url=base_url, api_key=key, http_client=http) as client:
        yield client


def create_job(client: openai.OpenAI, **given: Any) -> FineTuningJob:
    file = client.files.create(file=("train.jsonl", dataset(10)), purpose="fine-tune")
    return client.fine_tuning.jobs.create(model="yard-smoke", training_file=file.id, **given)


def test_a_job_is_created_and_seen(client: openai.OpenAI) -> None:
    lora: Any = {"r": 8, "alpha": 16}  # not in the SDK's types, and passed on as it is
    job = create_job(
        client,
        suffix="topics",
        seed=7,
        metadata={"team": "search"},
        method={
            "type": "supervised",
            "supervised": {
                "hyperparameters": {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 0.5},
                "lora": lora,
            },
        },
        extra_headers={"Idempotency-Key": "once"},
    )
    assert isinstance(job, FineTuningJob)
    assert (job.object, job.status, job.seed) == ("fine_tuning.job", "validating_files", 7)
    assert (job.error, job.finished_at, job.fine_tuned_model, job.trained_tokens) == (None,) * 4
    assert (job.result_files, job.integrations, job.metadata) == ([], [], {"team": "search"})
    assert job.hyperparameters.n_epochs == 3
    assert job.method
    assert job.method.supervised
    assert job.method.supervised.hyperparameters
    assert job.method.supervised.hyperparameters.batch_size == "auto"
    assert job.model_extra
    assert job.model_extra["tokenyard"]["progress"]["step"] == 0
    assert client.fine_tuning.jobs.retrieve(job.id) == job


def test_a_preference_job_is_created(client: openai.OpenAI) -> None:
    job = create_job(client, method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}})
    assert job.method
    assert job.method.dpo
    assert job.method.dpo.hyperparameters
    assert job.method.dpo.hyperparameters.beta == 0.2


def test_jobs_are_iterated_over_page_by_page_and_found_by_metadata(
    client: openai.OpenAI, requests: list[Request]
) -> None:
    made = [create_job(client, metadata={"number": str(number)}).id for number in range(3)][::-1]
    requests.clear()
    assert [job.id for job in client.fine_tuning.jobs.list(limit=1)] == made
    assert len(requests) == 3
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"number": "1"})] == [made[1]]
    unmarked = client.fine_tuning.jobs.list(extra_query={"metadata": "null"})
    assert list(unmarked) == []


def test_a_job_is_paused_resumed_and_cancelled(client: openai.OpenAI, enterprise_yard: ServedYard) -> None:
    job = create_job(client)
    make_queued(enterprise_yard.database, job.id)
    jobs = client.fine_tuning.jobs
    assert jobs.retrieve(job.id).status == "queued"
    paused: str = jobs.pause(job.id).status
    assert paused == "paused", "a status that the SDK has no name for"
    assert jobs.resume(job.id).status == "queued"
    cancelled = jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at


def test_events_and_checkpoints_are_iterated_over(
    client: openai.OpenAI, enterprise_yard: ServedYard, requests: list[Request]
) -> None:
    job = create_job(client)
    make_queued(enterprise_yard.database, job.id)
    metrics = [
        StepMetrics(
            step=step,
            epoch=1.0,
            train_loss=1.0 / step,
            train_mean_token_accuracy=0.5,
            learning_rate=1e-3,
            grad_norm=1.0,
            trained_tokens=step,
        )
        for step in (1, 2)
    ]
    with enterprise_yard.database.transaction() as tx:
        events.record(tx, tx.get_one(rows.FineTuningJob, job.id), metrics)
    for step in (1, 2):
        checkpoint(enterprise_yard.database, job.id, step)
    requests.clear()
    said = list(client.fine_tuning.jobs.list_events(job.id, limit=3))
    assert all(isinstance(event, FineTuningJobEvent) for event in said)
    assert (len(said), len(requests)) == (4, 2)
    newest: Any = said[0].data
    assert (said[0].type, newest["step"], newest["train_loss"]) == ("metrics", 2, 0.5)
    kept = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert all(isinstance(row, FineTuningJobCheckpoint) for row in kept)
    assert [row.step_number for row in kept] == [2, 1]
    assert kept[0].fine_tuned_model_checkpoint.endswith(":ckpt-step-2")
    assert kept[0].metrics.train_loss == 0.5


def test_a_result_file_is_plain_csv_and_base64_for_whom_asks(
    client: openai.OpenAI, enterprise_yard: ServedYard
) -> None:
    """OpenAI's cookbook decodes base64; `extra_query` makes its scripts work here."""
    file = client.files.create(file=("metrics.csv", CSV), purpose="user_data")
    wrong = {"encoding": "base64"}
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.content(file.id, extra_query=wrong)
    assert refused.value.param == "encoding"
    with enterprise_yard.database.transaction() as tx:
        tx.get_one(File, file.id).purpose = Purpose.FINE_TUNE_RESULTS
    job = create_job(client)
    change(enterprise_yard.database, job.id, result_file_id=file.id)
    (result,) = client.fine_tuning.jobs.retrieve(job.id).result_files
    assert client.files.content(result).read() == CSV
    encoded = client.files.content(result, extra_query={"encoding": "base64"}).read()
    assert base64.b64decode(encoded) == CSV


def test_refusals_arrive_as_the_sdk_s_own_exceptions(
    client: openai.OpenAI, yard: ServedYard, requests: list[Request]
) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        create_job(client, suffix="no spaces, please")
    assert bad.value.param == "suffix"
    job = create_job(client)
    client.fine_tuning.jobs.cancel(job.id)
    requests.clear()
    with pytest.raises(openai.ConflictError, match="status 'cancelled'"):
        client.fine_tuning.jobs.pause(job.id)
    assert len(requests) == 1, "x-should-retry: false"
    with client.with_options(api_key=yard.key) as developer:
        with pytest.raises(
            openai.PermissionDeniedError, match=r"The Enterprise tier \(.*\) has it"
        ) as denied:
            create_job(developer)
        assert denied.value.code == "not_available_for_plan"
        with pytest.raises(openai.NotFoundError):
            developer.fine_tuning.jobs.retrieve(job.id)


async def test_the_asynchronous_client_speaks_the_same(enterprise_yard: ServedYard) -> None:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    base_url, key = f"{enterprise_yard.url}/v1", enterprise_yard.key
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, http_client=http) as client:
        file = await client.files.create(file=("train.jsonl", dataset(10)), purpose="fine-tune")
        job = await client.fine_tuning.jobs.create(model="yard-smoke", training_file=file.id)
        assert [found.id async for found in client.fine_tuning.jobs.list()] == [job.id]
        said = [event.message async for event in client.fine_tuning.jobs.list_events(job.id)]
        assert said[-1] == f"Created fine-tuning job: {job.id}"
