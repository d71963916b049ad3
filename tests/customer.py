"""What a customer does with a yard through the official client: send a batch, wait, read its files."""

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import openai
from openai.types import Batch

from tests.yard_process import YardProcess, until

BATCH_SECONDS_MAX = 300.0
CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo"}

Line: TypeAlias = dict[str, Any]  # of an input, output or error file, in OpenAI's shape


@contextmanager
def customer(yard: YardProcess, tier: str = "developer") -> Iterator[openai.OpenAI]:
    """The official client with the key of a tier's organization."""
    with openai.OpenAI(base_url=f"{yard.api_url}/v1", api_key=yard.keys[tier]) as client:
        yield client


def chat(number: int, *, model: str = "yard-smoke", system: str | None = None, **body: Any) -> Line:
    """Line `number` (from 0), which asks for a capital."""
    country = list(CAPITALS)[number % len(CAPITALS)]
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages.append({"role": "user", "content": f"What is the capital of {country}?"})
    settings = {"model": model, "messages": messages, "max_tokens": 24, "temperature": 0}
    return {"custom_id": f"line-{number}", "method": "POST", "url": CHAT, "body": settings | body}


def endless(number: int) -> Line:
    """Line `number`, whose answer takes as long as the model's context lets it."""
    return chat(number, max_tokens=1800, min_tokens=1800, ignore_eos=True)


def submit(
    client: openai.OpenAI, lines: Sequence[Line | str], *, endpoint: Any = CHAT, **tokenyard: Any
) -> Batch:
    """Upload the lines and create a batch of them. A string is a line as it stands."""
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    file = client.files.create(file=("in.jsonl", io.BytesIO(text.encode())), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,
        completion_window="24h",
        extra_body={"tokenyard": tokenyard},
    )


def when(client: openai.OpenAI, yard: YardProcess, batch: Batch, *statuses: str) -> Batch:
    """The batch once its status is one of these. An API that is being restarted is asked again."""
    seen = batch

    def reached() -> bool:
        nonlocal seen
        try:
            seen = client.batches.retrieve(batch.id)
        except (openai.APIConnectionError, openai.InternalServerError):
            return False
        assert seen.status in statuses or seen.status not in ENDED, seen.to_json()
        return seen.status in statuses

    def tell() -> str:
        return f"{seen.to_json()}\n{yard.logs()}"

    until(reached, seconds=BATCH_SECONDS_MAX, what=f"{batch.id} to be {statuses}", tell=tell)
    return seen


def done(client: openai.OpenAI, yard: YardProcess, batch: Batch) -> Batch:
    """The batch once it is completed."""
    return when(client, yard, batch, "completed")


def has_results(client: openai.OpenAI, yard: YardProcess, batch: Batch, *, lines: int) -> Batch:
    """The batch once it has so many results, and before it has all."""

    def found() -> Batch | None:
        seen = client.batches.retrieve(batch.id)
        assert seen.status not in ENDED, seen.to_json()
        return seen if extra(seen, "progress")["lines_done"] >= lines else None

    answer = until(found, seconds=BATCH_SECONDS_MAX, what=f"{lines} results", tell=yard.logs)
    assert answer is not None
    return answer


def extra(batch: Batch, name: str) -> Any:
    """What this yard adds to OpenAI's Batch; their client keeps it."""
    return batch.to_dict()[name]


def output(client: openai.OpenAI, batch: Batch) -> list[Line]:
    """The lines of its output file."""
    return _lines(client, batch.output_file_id)


def errors(client: openai.OpenAI, batch: Batch) -> list[Line]:
    """The lines of its error file."""
    return _lines(client, batch.error_file_id)


def assert_each_line_once(client: openai.OpenAI, batch: Batch, sent: Sequence[Line]) -> None:
    """Every custom_id is in one of the two files, once, each file is in input order, and the counts of
    the batch are those of the files."""
    order = {line["custom_id"]: number for number, line in enumerate(sent)}
    good, bad = output(client, batch), errors(client, batch)
    times = Counter(line["custom_id"] for line in [*good, *bad])
    assert times == dict.fromkeys(order, 1)
    for file in (good, bad):
        places = [order[line["custom_id"]] for line in file]
        assert places == sorted(places)
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (len(sent), len(good), len(bad))


def _lines(client: openai.OpenAI, file_id: str | None) -> list[Line]:
    if file_id is None:
        return []
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
