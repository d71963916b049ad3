"""Synchronous requests on the yard's real engine, while batches run, by the official client."""

import openai
import pytest

from tests.customer import chat, submit, when
from tests.yard_process import YardProcess, until

pytestmark = [pytest.mark.engine, pytest.mark.prefect, pytest.mark.timeout(600)]

MODEL = "yard-smoke"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def test_a_model_can_be_tried_while_a_batch_fills_its_engine(
    yard: YardProcess, developer: openai.OpenAI
) -> None:
    batch = submit(developer, [chat(number, max_tokens=64) for number in range(600)])
    asked = developer.with_options(max_retries=0)

    def answered() -> bool:
        try:
            first = asked.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=20)
        except openai.InternalServerError as cold:
            if cold.code != "model_cold":
                raise
            return False
        assert "Paris" in (first.choices[0].message.content or "")
        return True

    until(answered, seconds=240, what="an answer of a warm engine")
    stream = asked.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=20, stream=True)
    words = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert len(words) > 2
    assert "Paris" in "".join(words)
    told = asked.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION, max_tokens=20)
    assert int(told.headers["x-ratelimit-remaining-requests"]) > 0
    when(developer, yard, batch, "completed")


def test_a_response_is_streamed_with_its_counts(developer: openai.OpenAI) -> None:
    question = str(QUESTION[0]["content"])
    with developer.responses.create(model=MODEL, input=question, max_output_tokens=20, stream=True) as stream:
        *_, last = stream
    assert last.type == "response.completed"
    assert "Paris" in last.response.output_text
    assert last.response.usage is not None
    assert last.response.usage.output_tokens > 2


def test_quotes_are_kept_and_compared(developer: openai.OpenAI) -> None:
    found = developer.get("/usage/quotes", cast_to=object)
    assert isinstance(found, dict)
    settled = [quote for quote in found["data"] if quote["actual"]]
    assert settled
    assert found["errors"]["quotes"] >= len(settled)
    assert all(quote["actual"]["finish_seconds"] > 0 for quote in settled)
