"""The demo's second half: teach the model a task, and ask the base and the new model in one batch."""

import json
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from openai import OpenAI, PermissionDeniedError
from openai.types.fine_tuning import FineTuningJob
from rich.console import Console

from infra.demo.lines import ENDPOINT, MODEL
from infra.demo.reviews import as_dataset, reviews

TAUGHT, ASKED = 300, 40
TEACHING_SEED, ASKING_SEED = 11, 4242
ANSWER_TOKENS_MAX = 28
SECONDS_MAX = 600.0
POLL_SECONDS = 0.5
LEARNT_SHARE_MIN = 0.8  # of the new model's answers, of which the base has none
BLOCKS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 60
OVER = ("succeeded", "failed", "cancelled")
BATCH_OVER = ("completed", "failed", "expired", "cancelled")


class FineTuneFailed(Exception):
    """An expectation that did not hold; the message is for a person."""


def run(api_url: str, keys: Mapping[str, str], folder: Path, console: Console) -> None:
    """Fine-tune as an Enterprise organization and compare. Raises FineTuneFailed."""
    dataset = folder / "demo_reviews.jsonl"
    dataset.write_text(as_dataset(reviews(TAUGHT, seed=TEACHING_SEED)))
    with OpenAI(base_url=f"{api_url}/v1", api_key=keys["developer"]) as developer:
        _show_refusal(developer, dataset, console)
    with OpenAI(base_url=f"{api_url}/v1", api_key=keys["enterprise"]) as client:
        job = _train(client, dataset, console)
        _compare(client, str(job.fine_tuned_model), folder, console)


def _show_refusal(client: OpenAI, dataset: Path, console: Console) -> None:
    """Another tier is told why not, and which tier may."""
    with dataset.open("rb") as file:
        uploaded = client.files.create(file=file, purpose="fine-tune")
    try:
        client.fine_tuning.jobs.create(model=MODEL, training_file=uploaded.id)
    except PermissionDeniedError as refusal:
        body: Any = refusal.body
        console.print(
            f"a Developer asks for a fine-tune: 403, {body['message']}", markup=False, soft_wrap=True
        )
        return
    raise FineTuneFailed("a Developer organization could create a fine-tuning job")


def _train(client: OpenAI, dataset: Path, console: Console) -> FineTuningJob:
    with dataset.open("rb") as file:
        uploaded = client.files.create(file=file, purpose="fine-tune")
    began = time.monotonic()
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=uploaded.id, suffix="reviews", seed=1)
    console.print(f"created {job.id}: {TAUGHT} reviews, answered by JSON")
    said = ""
    while job.status not in OVER:
        if time.monotonic() - began > SECONDS_MAX:
            raise FineTuneFailed(f"{job.id} is still {job.status} after {SECONDS_MAX:.0f} s")
        time.sleep(POLL_SECONDS)
        job = client.fine_tuning.jobs.retrieve(job.id)
        if (words := _words(job)) != said:
            said = words
            console.print(words, markup=False, soft_wrap=True)
    if job.status != "succeeded":
        raise FineTuneFailed(f"{job.id} is {job.status}: {job.error}")
    losses = _losses(client, job.id)
    extra: Any = job.to_dict()["tokenyard"]
    for text in (
        "",
        f"loss      {losses[0]:.3f} {_curve(losses)} {losses[-1]:.3f}, {len(losses)} steps",
        f"tokens    {job.trained_tokens:,} trained",
        f"cost      ${extra['cost']['amount_micros'] / 1e6:.6f}",
        f"model     {job.fine_tuned_model}, {time.monotonic() - began:.0f} s after it was asked for",
        f"Prefect   {extra['flow_run_url']}",
        "",
    ):
        console.print(text, markup=False, soft_wrap=True)
    if losses[-1] > losses[0] / 2:
        raise FineTuneFailed(f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}: nothing was learnt")
    return job


def _words(job: FineTuningJob) -> str:
    """A line for each status and each quarter of the steps."""
    progress: Any = job.to_dict()["tokenyard"]["progress"]  # type: ignore[index]
    if progress["waiting_for"]:
        return f"{job.status}: waiting for {progress['waiting_for']}"
    if job.status != "running" or not progress["total_steps"]:
        return str(job.status)
    quarter = 4 * progress["step"] // progress["total_steps"] * 25
    return f"running: {quarter}% of {progress['total_steps']} steps"


def _losses(client: OpenAI, job_id: str) -> list[float]:
    """The training loss of every step, first to last."""
    steps = {}
    for event in client.fine_tuning.jobs.list_events(job_id, limit=100):
        data: Any = event.data
        if event.type == "metrics" and data and data.get("train_loss") is not None:
            steps[data["step"]] = float(data["train_loss"])
    return [steps[step] for step in sorted(steps)]


def _curve(losses: list[float]) -> str:
    """The losses as blocks, means of neighbours where there are too many."""
    width = min(CURVE_WIDTH, len(losses))
    bounds = [round(i * len(losses) / width) for i in range(width + 1)]
    means = [sum(losses[a:b]) / (b - a) for a, b in pairwise(bounds)]
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low or 1.0)
    return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)


def _compare(client: OpenAI, model: str, folder: Path, console: Console) -> None:
    """One batch whose lines ask the base and the new model in turn."""
    pairs = list(reviews(ASKED, seed=ASKING_SEED))
    path = folder / "demo_mixed.jsonl"
    with path.open("w") as file:
        for number, (question, _) in enumerate(pairs):
            for name in (MODEL, model):
                file.write(json.dumps(_line(f"{number}|{name}", name, question)) + "\n")
    with path.open("rb") as opened:
        uploaded = client.files.create(file=opened, purpose="batch")
    batch = client.batches.create(input_file_id=uploaded.id, endpoint=ENDPOINT, completion_window="24h")
    console.print(f"created {batch.id}: {2 * ASKED} lines, base and new model in turn")
    deadline = time.monotonic() + SECONDS_MAX
    while batch.status not in BATCH_OVER:
        if time.monotonic() > deadline:
            raise FineTuneFailed(f"{batch.id} is still {batch.status} after {SECONDS_MAX:.0f} s")
        time.sleep(POLL_SECONDS)
        batch = client.batches.retrieve(batch.id)
    if batch.status != "completed" or batch.output_file_id is None:
        raise FineTuneFailed(f"{batch.id} is {batch.status}: {batch.errors}")
    right = {MODEL: 0, model: 0}
    shown: dict[str, str] = {}
    for text in client.files.content(batch.output_file_id).text.splitlines():
        result = json.loads(text)
        number, _, name = result["custom_id"].partition("|")
        answer = result["response"]["body"]["choices"][0]["message"]["content"]
        right[name] += answer == pairs[int(number)][1]
        shown.setdefault(name, f"{pairs[int(number)][0]}  ->  {answer}")
    for name, count in right.items():
        console.print(f"  {count:>3} of {ASKED} exact: {name}", markup=False, soft_wrap=True)
    for text in shown.values():
        console.print(f"  {text}", markup=False, soft_wrap=True)
    if right[model] < LEARNT_SHARE_MIN * ASKED or right[MODEL] > right[model] / 2:
        raise FineTuneFailed(f"expected the new model to be plainly better than its base, found {right}")


def _line(custom_id: str, model: str, question: str) -> dict[str, Any]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": ANSWER_TOKENS_MAX,
        "temperature": 0,
    }
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
