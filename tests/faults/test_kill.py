"""kill -9 of each part of a yard in the middle of a batch. It completes, each line once, charged once, and
the engine answers no more lines twice than were in flight or not yet stored."""

import signal
from collections import Counter

import httpx
import openai
import pytest
from openai.types import Batch
from sqlmodel import select

from orchestrator.batches.segments import FLUSH_LINES
from orchestrator.batches.sharing import FILL
from orchestrator.engines.model import Engine, EngineStatus
from orchestrator.jobs.model import Job, JobStatus
from orchestrator.metering.model import Usage
from tests.customer import (
    Line,
    assert_each_line_once,
    chat,
    done,
    extra,
    has_results,
    output,
    submit,
)
from tests.yard_process import YardProcess, until

pytestmark = [
    pytest.mark.engine,
    pytest.mark.prefect,
    pytest.mark.fault,
    pytest.mark.timeout(900),
]

LINES = 2000
MIDDLE = 300  # results when the kill comes
SEATS = 256  # of the smoke model's engine
REPEATED_MAX = int(SEATS * FILL) + FLUSH_LINES
SETTLED_SECONDS_MAX = 90.0

# What each part's end may cost in lines that an engine answers twice.
REPEATED_BY_PART = {
    "worker-cpu": REPEATED_MAX,
    "postgres": REPEATED_MAX,
    "api": 0,
    "dispatcher": 0,
    "prefect": 0,
    "engine": int(SEATS * FILL),
    "engine-core": int(SEATS * FILL),
    "worker-gpu": int(SEATS * FILL),
}


@pytest.mark.parametrize("part", REPEATED_BY_PART)
def test_a_batch_survives_kill_9_of(part: str, developer: openai.OpenAI, yard: YardProcess) -> None:
    sent = _sent()
    engines = _AnswersByEngine(yard)
    batch = has_results(developer, yard, submit(developer, sent), lines=MIDDLE)
    engines.look()
    yard.kill_part(part)
    batch = done(developer, yard, batch)
    engines.look()
    _assert_whole(developer, yard, batch, sent)
    assert engines.answers() - LINES <= REPEATED_BY_PART[part]
    yard.wait_ready()


def test_a_driver_that_is_told_to_end_gives_its_batch_back(
    developer: openai.OpenAI, yard: YardProcess
) -> None:
    sent = _sent()
    batch = has_results(developer, yard, submit(developer, sent), lines=MIDDLE)
    yard.kill_part("worker-cpu", signal.SIGTERM)
    batch = done(developer, yard, batch)
    _assert_whole(developer, yard, batch, sent)
    job = _job(yard, batch)
    assert (job.attempt, job.failures, job.failure) == (2, 0, None)
    yard.wait_ready()


def test_kill_9_of_yard_up_leaves_nothing_behind_and_the_next_one_goes_on(
    developer: openai.OpenAI, yard: YardProcess
) -> None:
    sent = _sent()
    batch = has_results(developer, yard, submit(developer, sent), lines=MIDDLE)
    yard.kill()
    yard.start()
    batch = done(developer, yard, batch)
    _assert_whole(developer, yard, batch, sent)


def _sent() -> list[Line]:
    return [chat(number) for number in range(LINES)]


def _assert_whole(client: openai.OpenAI, yard: YardProcess, batch: Batch, sent: list[Line]) -> None:
    """Each line once, all with answers, charged once, and no run of the batch still going in Prefect."""
    assert_each_line_once(client, batch, sent)
    answers = output(client, batch)
    assert len(answers) == len(sent)
    with yard.database.read() as tx:
        (charge,) = tx.exec(select(Usage).where(Usage.resource_id == batch.id)).all()
    assert charge.lines == len(sent)
    assert charge.output_tokens == sum(a["response"]["body"]["usage"]["completion_tokens"] for a in answers)
    assert charge.cost_micros == extra(batch, "cost")["amount_micros"]
    assert _job(yard, batch).status is JobStatus.DONE
    until(
        lambda: not _going(yard, batch),
        seconds=SETTLED_SECONDS_MAX,
        what="an end of every run of the batch in Prefect",
        tell=lambda: f"{_going(yard, batch)}",
    )


def _job(yard: YardProcess, batch: Batch) -> Job:
    with yard.database.read() as tx:
        return tx.exec(select(Job).where(Job.resource_id == batch.id)).one()


def _going(yard: YardProcess, batch: Batch) -> list[str]:
    """The names of the batch's flow runs that Prefect shows without an end."""
    try:
        runs = yard.prefect(
            "POST",
            "/flow_runs/filter",
            flow_runs={"state": {"type": {"not_any_": ["COMPLETED", "CANCELLED", "CRASHED", "FAILED"]}}},
        )
    except httpx.HTTPError as away:
        return [f"Prefect is away: {away}"]
    return [f"{run['name']} {run['state']}" for run in runs if run["parameters"].get("batch_id") == batch.id]


class _AnswersByEngine:
    """How many requests each engine has answered since this was made, as it counts them itself. What a
    killed engine has answered is what it said at the last look."""

    def __init__(self, yard: YardProcess) -> None:
        self._yard = yard
        self._before = self._counts()
        self._now = Counter(self._before)

    def look(self) -> None:
        self._now |= self._counts()  # of each the larger: it only ever grows

    def answers(self) -> int:
        return (self._now - self._before).total()

    def _counts(self) -> Counter[str]:
        with self._yard.database.read() as tx:
            engines = tx.exec(
                select(Engine).where(Engine.model == "yard-smoke", Engine.status == EngineStatus.READY)
            ).all()
        return Counter({engine.id: _answered(engine) for engine in engines})


def _answered(engine: Engine) -> int:
    try:
        metrics = httpx.get(f"{engine.url}/metrics", trust_env=False, timeout=30).text.splitlines()
    except httpx.HTTPError:
        return 0  # killed; its row does not say so yet
    counted = (line for line in metrics if line.startswith("vllm:request_success_total{"))
    return sum(int(float(line.rpartition(" ")[2])) for line in counted if '"abort"' not in line)
