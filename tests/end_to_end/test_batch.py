"""Batches from the first byte to the invoice, through the official clients, on a real vLLM."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from groq import Groq
from openai.types import Batch
from openai.types.webhooks import BatchCompletedWebhookEvent
from sqlmodel import select

from orchestrator.entitlements.tiers import Tiers
from orchestrator.metering.model import PriceList, Usage
from orchestrator.metering.prices import cost_micros
from orchestrator.models.registry import Registry
from tests.customer import (
    CAPITALS,
    Line,
    assert_each_line_once,
    chat,
    done,
    errors,
    extra,
    output,
    submit,
    when,
)
from tests.receiver import Receiver, receiving
from tests.yard_process import YardProcess, until

pytestmark = [pytest.mark.engine, pytest.mark.prefect, pytest.mark.timeout(600)]

SYSTEM = "You answer questions of geography in one word, whatever the language. " * 20


@pytest.fixture(scope="module")
def sent() -> list[Line]:
    """300 requests: some refused by the engine, some with a long prompt in common."""
    lines = []
    for number in range(300):
        body = {"temperature": -1.0} if number % 50 == 7 else {}
        lines.append(chat(number, system=SYSTEM if number % 3 else None, **body))
    return lines


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Somebody who wants to hear of batches."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def secret(developer: openai.OpenAI, receiver: Receiver) -> str:
    """What the receiver verifies signatures with."""
    return developer.webhooks.create(
        name="hook", url=receiver.url, event_types=["batch.completed"]
    ).signing_secret


@pytest.fixture(scope="module")
def batch(developer: openai.OpenAI, yard: YardProcess, sent: list[Line], secret: str) -> Batch:
    """The batch of these, completed, with somebody who listens."""
    return done(developer, yard, submit(developer, sent))


def test_every_line_is_in_one_of_the_two_files_in_input_order(
    developer: openai.OpenAI, batch: Batch, sent: list[Line]
) -> None:
    assert_each_line_once(developer, batch, sent)
    assert batch.request_counts is not None
    assert batch.request_counts.failed == 6


def test_its_end_is_told_by_a_webhook_that_the_official_client_unwraps(
    developer: openai.OpenAI, batch: Batch, receiver: Receiver, secret: str
) -> None:
    got = receiver.wait(1)[0]
    event = developer.webhooks.unwrap(got.body, got.headers, secret=secret)
    assert isinstance(event, BatchCompletedWebhookEvent)
    assert event.data.id == batch.id


def test_answers_are_those_of_the_model(developer: openai.OpenAI, batch: Batch) -> None:
    answers = output(developer, batch)
    capitals = list(CAPITALS.values())
    right = 0
    for line in answers:
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert line["response"]["request_id"]
        choice = line["response"]["body"]["choices"][0]
        number = int(line["custom_id"].removeprefix("line-"))
        right += capitals[number % len(capitals)] in choice["message"]["content"]
    assert right >= 0.9 * len(answers)


def test_a_refused_line_carries_the_engines_own_words(developer: openai.OpenAI, batch: Batch) -> None:
    for line in errors(developer, batch):
        assert line["response"]["status_code"] == 400
        assert "temperature" in line["response"]["body"]["error"]["message"]


def test_usage_is_the_sum_over_the_output_file_and_the_engine_had_prefixes_cached(
    developer: openai.OpenAI, batch: Batch
) -> None:
    summed = _usage_of(output(developer, batch))
    assert batch.usage is not None
    assert batch.usage.input_tokens == summed["input_tokens"]
    assert batch.usage.output_tokens == summed["output_tokens"]
    assert batch.usage.input_tokens_details.cached_tokens == summed["cached_tokens"]
    assert summed["cached_tokens"] > summed["input_tokens"] / 2


def test_the_output_file_alone_is_the_invoice(
    developer: openai.OpenAI, yard: YardProcess, batch: Batch, models_file: Path
) -> None:
    spec = Registry.load(models_file, home=yard.home).get("yard-smoke")
    assert spec is not None
    discount = Tiers.load(None)["developer"].batch_discount
    owed = cost_micros(_usage_of(output(developer, batch)), spec.prices(), discount)
    assert extra(batch, "cost") == {"amount_micros": owed, "currency": "usd", "charged": True}
    with yard.database.read() as tx:
        rows = tx.exec(select(Usage).where(Usage.resource_id == batch.id)).all()
        public = tx.exec(select(PriceList)).one()
    quoted = extra(batch, "prices")["yard-smoke"]
    assert quoted == {name: public.prices["yard-smoke"].get(name, discount) for name in quoted}
    assert [(row.model, row.cost_micros) for row in rows] == [("yard-smoke", owed)]
    assert owed > 0


def test_its_flow_run_is_completed_and_says_whose_it_was(yard: YardProcess, batch: Batch) -> None:
    url = extra(batch, "flow_run_url")
    run = until(
        lambda: _finished_run(yard, url.rpartition("/")[2]), seconds=30, what="the run's end in Prefect"
    )
    assert run["name"] == batch.id
    assert run["state"]["type"] == "COMPLETED"
    assert set(run["tags"]) == {"organization:demo-developer", "tier:developer", "model:yard-smoke"}
    assert httpx.get(url, trust_env=False, headers={"Accept": "text/html"}).status_code == httpx.codes.OK


def test_one_file_may_name_several_endpoints_and_models(enterprise: openai.OpenAI, yard: YardProcess) -> None:
    question = "What is the capital of France?"
    completion = {"model": "yard-smoke", "prompt": question, "max_tokens": 8}
    response = {"model": "yard-smoke", "input": question, "max_output_tokens": 8}
    sent = [
        chat(0),
        {"custom_id": "line-1", "method": "POST", "url": "/v1/completions", "body": completion},
        {"custom_id": "line-2", "method": "POST", "url": "/v1/responses", "body": response},
        chat(3, model="remote"),
    ]
    batch = done(enterprise, yard, submit(enterprise, sent))
    assert_each_line_once(enterprise, batch, sent)
    bodies = {line["custom_id"]: line["response"]["body"] for line in output(enterprise, batch)}
    kinds = [bodies[f"line-{number}"]["object"] for number in range(4)]
    assert kinds == ["chat.completion", "text_completion", "response", "chat.completion"]
    assert bodies["line-3"]["choices"][0]["message"]["content"] == sent[3]["body"]["messages"][0]["content"]
    with yard.database.read() as tx:
        rows = tx.exec(select(Usage).where(Usage.resource_id == batch.id)).all()
    assert {row.model: row.lines for row in rows} == {"yard-smoke": 3, "remote": 1}


def test_the_groq_client_runs_a_batch_too(yard: YardProcess) -> None:
    text = "".join(json.dumps(chat(number)) + "\n" for number in range(3))
    with Groq(base_url=yard.api_url, api_key=yard.keys["developer"]) as groq:
        file = groq.files.create(file=("in.jsonl", text.encode()), purpose="batch")
        assert file.id is not None
        made = groq.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="7d"
        )
        ended = until(
            lambda: found if (found := groq.batches.retrieve(made.id)).status == "completed" else None,
            seconds=120,
            what="completed",
        )
        assert ended is not None
        assert ended.output_file_id is not None
        assert len(groq.files.content(ended.output_file_id).text().splitlines()) == 3


def test_one_bad_line_fails_a_batch_before_it_costs_anything(
    developer: openai.OpenAI, yard: YardProcess
) -> None:
    sent = [chat(0), "{not json", chat(2), chat(2)]
    batch = when(developer, yard, submit(developer, sent), "failed")
    assert batch.errors is not None
    assert [(error.line, error.code) for error in batch.errors.data or []] == [
        (2, "invalid_json_line"),
        (4, "duplicate_custom_id"),
    ]
    assert batch.output_file_id is None
    report = developer.files.content(extra(batch, "report_file_id")).text.splitlines()
    assert [json.loads(line)["line"] for line in report] == [2, 4]
    assert extra(batch, "cost")["amount_micros"] == 0


def test_skipped_lines_are_in_the_error_file_and_the_rest_runs(
    developer: openai.OpenAI, yard: YardProcess
) -> None:
    unknown = chat(1, model="nobody-serves-this")
    batch = done(developer, yard, submit(developer, [chat(0), unknown, chat(2)], on_invalid_line="skip"))
    assert_each_line_once(developer, batch, [chat(0), unknown, chat(2)])
    (refused,) = errors(developer, batch)
    assert refused["custom_id"] == "line-1"
    assert refused["response"] is None
    assert refused["error"]["code"] == "model_not_found"


def test_a_retry_runs_only_what_failed(developer: openai.OpenAI, yard: YardProcess, batch: Batch) -> None:
    failed = [line["custom_id"] for line in errors(developer, batch)]
    made = developer.post(f"/batches/{batch.id}/retry", cast_to=Batch)
    again = done(developer, yard, made)
    assert extra(again, "retry_of") == batch.id
    assert [line["custom_id"] for line in errors(developer, again)] == failed
    assert output(developer, again) == []


def test_results_can_be_followed_while_they_come(developer: openai.OpenAI, yard: YardProcess) -> None:
    sent = [chat(number) for number in range(1500)]
    batch = submit(developer, sent)
    followed: list[str] = []
    reads_while_it_ran = 0
    with httpx.Client(
        base_url=yard.api_url,
        headers={"Authorization": f"Bearer {developer.api_key}"},
        trust_env=False,
        timeout=30,
    ) as http:

        def follow() -> None:
            answer = http.get(f"/v1/batches/{batch.id}/output", params={"after": len(followed)})
            answer.raise_for_status()
            new = [json.loads(line)["custom_id"] for line in answer.text.splitlines()]
            followed.extend(new)
            assert int(answer.headers["x-last-line"]) == len(followed)

        while (now := developer.batches.retrieve(batch.id)).status != "completed":
            assert now.status in ("validating", "in_progress", "finalizing"), now.to_json()
            reads_before = len(followed)
            follow()
            reads_while_it_ran += reads_before < len(followed) < len(sent)
        follow()
    assert Counter(followed) == {line["custom_id"]: 1 for line in sent}
    assert reads_while_it_ran >= 3
    assert_each_line_once(developer, now, sent)


def _finished_run(yard: YardProcess, run_id: str) -> dict[str, object] | None:
    run: dict[str, object] = yard.prefect("GET", f"/flow_runs/{run_id}")
    return run if run["end_time"] else None


def _usage_of(lines: list[Line]) -> Counter[str]:
    """The tokens that the bodies of output lines say, all of one model."""
    summed: Counter[str] = Counter()
    for line in lines:
        usage = line["response"]["body"]["usage"]
        summed["input_tokens"] += usage["prompt_tokens"]
        summed["output_tokens"] += usage["completion_tokens"]
        summed["cached_tokens"] += (usage["prompt_tokens_details"] or {}).get("cached_tokens") or 0
    return summed
