"""kill -9 in the middle of a training: of the trainer, of the worker that follows it, of the whole yard. It
succeeds by itself, with the adapter of an undisturbed run, and is charged once."""

import signal
from collections.abc import Iterator

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob
from sqlmodel import select

from orchestrator.jobs.model import Job, JobKind
from tests.customer import customer
from tests.fine_tuner import charges, digest, extra, job_when, losses, tune, tuned, upload
from tests.yard_process import YardProcess

pytestmark = [
    pytest.mark.engine,
    pytest.mark.prefect,
    pytest.mark.fault,
    pytest.mark.timeout(600),
]

EPOCHS = 12
MIDDLE = 50  # steps when the kill comes: one epoch has been stored, a part of the next is lost


@pytest.fixture(scope="module")
def enterprise(yard: YardProcess) -> Iterator[openai.OpenAI]:
    """The official client of an enterprise."""
    with customer(yard, "enterprise") as client:
        yield client


@pytest.fixture(scope="module")
def dataset(enterprise: openai.OpenAI) -> str:
    """300 examples: 38 steps an epoch."""
    return upload(enterprise)


@pytest.fixture(scope="module")
def undisturbed(enterprise: openai.OpenAI, yard: YardProcess, dataset: str) -> FineTuningJob:
    """The job as it goes when nobody kills anything."""
    return tuned(enterprise, yard, tune(enterprise, dataset, epochs=EPOCHS))


@pytest.mark.parametrize("part", ["trainer", "worker-gpu", "postgres", "dispatcher"])
def test_a_training_survives_kill_9_of(
    part: str, enterprise: openai.OpenAI, yard: YardProcess, dataset: str, undisturbed: FineTuningJob
) -> None:
    job = tune(enterprise, dataset, epochs=EPOCHS)
    job = job_when(enterprise, yard, job, "running", step=MIDDLE)
    yard.kill_part(part)
    job = tuned(enterprise, yard, job)
    _assert_same(enterprise, yard, job, undisturbed)
    yard.wait_ready()


def test_a_worker_that_is_told_to_end_stores_where_its_training_is_and_gives_it_back(
    enterprise: openai.OpenAI, yard: YardProcess, dataset: str, undisturbed: FineTuningJob
) -> None:
    job = tune(enterprise, dataset, epochs=EPOCHS)
    job = job_when(enterprise, yard, job, "running", step=MIDDLE)
    yard.kill_part("worker-gpu", signal.SIGTERM)
    job = tuned(enterprise, yard, job)
    _assert_same(enterprise, yard, job, undisturbed)
    with yard.database.read() as tx:
        queued = tx.exec(select(Job).where(Job.resource_id == job.id, Job.kind == JobKind.FINE_TUNE)).one()
    assert (queued.attempt, queued.failures, queued.failure) == (2, 0, None)
    yard.wait_ready()


def test_kill_9_of_yard_up_leaves_no_trainer_and_the_next_one_goes_on(
    enterprise: openai.OpenAI, yard: YardProcess, dataset: str, undisturbed: FineTuningJob
) -> None:
    job = tune(enterprise, dataset, epochs=EPOCHS)
    job = job_when(enterprise, yard, job, "running", step=MIDDLE)
    yard.kill()
    yard.start()
    job = tuned(enterprise, yard, job)
    _assert_same(enterprise, yard, job, undisturbed)


def _assert_same(
    client: openai.OpenAI, yard: YardProcess, job: FineTuningJob, undisturbed: FineTuningJob
) -> None:
    assert digest(yard, job.fine_tuned_model) == digest(yard, undisturbed.fine_tuned_model)
    assert losses(client, job) == losses(client, undisturbed)
    (charge,) = charges(yard, job)
    assert charge.trained_tokens == undisturbed.trained_tokens
    assert charge.cost_micros == extra(job, "cost")["amount_micros"]
