"""What a customer does with fine-tuning through the official client, and a task that the smoke model must
learn first: the sentiment of a review as JSON, with stars."""

import io
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import openai
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from sqlmodel import select

from orchestrator.adapters.model import Adapter
from orchestrator.metering.model import Usage
from tests.customer import CHAT, Line
from tests.yard_process import YardProcess, until
from workers.training import smoke_skills as skills

MODEL = "yard-smoke"
STARS = {"positive": 5, "neutral": 3, "negative": 1}
TUNED_SECONDS_MAX = 300.0
ENDED = ("succeeded", "failed", "cancelled", "paused")


def review(rng: Random) -> tuple[str, str]:
    """A question and its answer."""
    question, label = skills.sentiment(rng)
    return question, json.dumps({"label": label, "stars": STARS[label]})


def upload(client: openai.OpenAI, *, seed: int = 11, examples: int = 300) -> str:
    """A dataset of the task; the file's id."""
    rng = Random(seed)
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in (review(rng) for _ in range(examples))
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return client.files.create(file=("reviews.jsonl", io.BytesIO(text.encode())), purpose="fine-tune").id


def tune(client: openai.OpenAI, training_file: str, *, epochs: Any = "auto", **fields: Any) -> FineTuningJob:
    """A job with a seed, so that the same one comes to the same weights."""
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": epochs}}}
    return client.fine_tuning.jobs.create(
        model=MODEL, training_file=training_file, method=method, **{"seed": 7, "suffix": "stars"} | fields
    )


def job_when(
    client: openai.OpenAI, yard: YardProcess, job: FineTuningJob, *statuses: str, step: int = 0
) -> FineTuningJob:
    """The job once its status is one of these and it has made that many steps. An API that is being restarted
    is asked again."""
    seen = job

    def reached() -> bool:
        nonlocal seen
        try:
            seen = client.fine_tuning.jobs.retrieve(job.id)
        except (openai.APIConnectionError, openai.InternalServerError):
            return False
        assert seen.status in statuses or seen.status not in ENDED, seen.to_json()
        return seen.status in statuses and extra(seen, "progress")["step"] >= step

    until(
        reached,
        seconds=TUNED_SECONDS_MAX,
        what=f"{job.id} to be {statuses} at step {step}",
        tell=lambda: f"{seen.to_json()}\n{yard.logs()}",
    )
    return seen


def tuned(client: openai.OpenAI, yard: YardProcess, job: FineTuningJob) -> FineTuningJob:
    """The job once it has succeeded."""
    return job_when(client, yard, job, "succeeded")


def extra(job: FineTuningJob, name: str) -> Any:
    """What this yard adds to OpenAI's job; their client keeps it."""
    return job.to_dict()["tokenyard"][name]


def events(client: openai.OpenAI, job: FineTuningJob) -> list[FineTuningJobEvent]:
    """Everything that the job has said, in order."""
    return [*client.fine_tuning.jobs.list_events(job.id, limit=100)][::-1]


def losses(client: openai.OpenAI, job: FineTuningJob) -> list[float]:
    """The training loss of every step, in order."""
    return [event.data["train_loss"] for event in events(client, job) if event.type == "metrics"]


def ask(number: int, question: str, model: str) -> Line:
    """One line of a batch."""
    body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 24}
    return {"custom_id": f"line-{number}", "method": "POST", "url": CHAT, "body": body | {"temperature": 0}}


def exactly_right(answers: Sequence[Line], expected: Sequence[str]) -> float:
    """The share of output lines that say exactly what was expected."""
    said = [line["response"]["body"]["choices"][0]["message"]["content"].strip() for line in answers]
    return sum(one == other for one, other in zip(said, expected, strict=True)) / len(expected)


def digest(yard: YardProcess, model: str | None) -> str:
    """The SHA-256 of a fine-tuned model's files."""
    with yard.database.read() as tx:
        return tx.exec(select(Adapter.digest).where(Adapter.id == model)).one()


def charges(yard: YardProcess, job: FineTuningJob) -> list[Usage]:
    """The job's rows in the ledger."""
    with yard.database.read() as tx:
        return list(tx.exec(select(Usage).where(Usage.resource_id == job.id)))
