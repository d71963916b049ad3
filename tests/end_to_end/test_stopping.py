"""Batches that end before their last line: cancelled, out of time, or without an engine."""

from datetime import timedelta

import httpx
import openai
import pytest
from openai.types import Batch
from sqlmodel import select

from orchestrator import clock
from orchestrator.batches.model import Batch as BatchRow
from orchestrator.engines import service as engines
from orchestrator.engines.model import Engine
from tests.customer import (
    assert_each_line_once,
    chat,
    endless,
    errors,
    extra,
    has_results,
    output,
    submit,
    when,
)
from tests.yard_process import YardProcess, until

pytestmark = [pytest.mark.engine, pytest.mark.prefect, pytest.mark.timeout(600)]

STOP_SECONDS_MAX = 30.0
SENT = [*(chat(number) for number in range(20)), *(endless(number) for number in range(20, 60))]


@pytest.fixture
def running(developer: openai.OpenAI, yard: YardProcess) -> Batch:
    """A batch with 20 quick lines, which are done, and 40 that last, which are not."""
    return has_results(developer, yard, submit(developer, SENT), lines=20)


def test_a_cancel_keeps_what_is_done_and_frees_the_engine(
    developer: openai.OpenAI, yard: YardProcess, running: Batch
) -> None:
    assert _in_flight(yard) > 0
    assert developer.batches.cancel(running.id).status == "cancelling"
    until(lambda: _in_flight(yard) == 0, seconds=STOP_SECONDS_MAX, what="an engine without lines")
    batch = when(developer, yard, running, "cancelled")
    _assert_stopped(developer, batch, code="batch_cancelled")


def test_cancelling_the_run_on_prefects_pages_cancels_the_batch(
    developer: openai.OpenAI, yard: YardProcess, running: Batch
) -> None:
    run_id = extra(running, "flow_run_url").rpartition("/")[2]
    yard.prefect("POST", f"/flow_runs/{run_id}/set_state", state={"type": "CANCELLING"})
    batch = when(developer, yard, running, "cancelled")
    _assert_stopped(developer, batch, code="batch_cancelled")
    until(
        lambda: yard.prefect("GET", f"/flow_runs/{run_id}")["state"]["type"] == "CANCELLED",
        seconds=STOP_SECONDS_MAX,
        what="a cancelled run",
    )


def test_a_closed_window_keeps_what_is_done(
    developer: openai.OpenAI, yard: YardProcess, running: Batch
) -> None:
    with yard.database.transaction() as tx:
        tx.get_one(BatchRow, running.id).expires_at = clock.now() - timedelta(seconds=1)
    batch = when(developer, yard, running, "expired")
    _assert_stopped(developer, batch, code="batch_expired")


def test_a_model_that_no_engine_can_load_fails_its_batch_with_the_engines_last_words(
    enterprise: openai.OpenAI, yard: YardProcess, doomed: Batch
) -> None:
    batch = when(enterprise, yard, doomed, "failed")
    (error,) = (batch.errors and batch.errors.data) or []
    assert error.code == "engine_failed"
    assert "nobody-made-this" in (error.message or "")
    assert {line["error"]["code"] for line in errors(enterprise, batch)} == {"engine_failed"}
    with yard.database.read() as tx:
        tried = tx.exec(select(Engine).where(Engine.model == "broken")).all()
    assert [engine.status for engine in tried] == ["failed"] * 3


def _assert_stopped(client: openai.OpenAI, batch: Batch, *, code: str) -> None:
    """Quick lines have their answers and are charged, the others say why they have none."""
    assert_each_line_once(client, batch, SENT)
    answered = [line["custom_id"] for line in output(client, batch)]
    assert answered == [line["custom_id"] for line in SENT[:20]]
    assert {line["error"]["code"] for line in errors(client, batch)} == {code}
    assert extra(batch, "cost")["charged"]


def _in_flight(yard: YardProcess) -> float:
    """Lines that the smoke model's engine works on or holds."""
    with yard.database.read() as tx:
        (engine,) = engines.ready(tx, ["yard-smoke"])
    metrics = httpx.get(f"{engine.url}/metrics", trust_env=False).text.splitlines()
    names = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")
    return sum(float(line.rpartition(" ")[2]) for line in metrics if line.startswith(names))
