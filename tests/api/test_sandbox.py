"""Synchronous requests, against an engine that is played by a small server."""

import json
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from sqlmodel import select

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.engines.model import Engine, EngineStatus, SandboxDemand
from orchestrator.limits import at_once
from orchestrator.limits import service as limits
from orchestrator.metering.model import Usage, UsageKind
from tests.api.conftest import Customer
from tests.api.test_limits import FREE, set_contract
from tests.factories import make_engine
from tests.yard_process import until

pytestmark = pytest.mark.server

USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 16}}
WORDS = ("Hello", " there")


class PlayedEngine(BaseHTTPRequestHandler):
    """Answers as vLLM does, and remembers what it was asked."""

    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append({"path": self.path, "key": self.headers.get("authorization"), "body": body})
        if body["messages"] == []:
            self._send(400, {"error": {"message": "No messages.", "type": "BadRequestError", "code": 400}})
        elif body.get("stream"):
            self._stream()
        else:
            message = {"role": "assistant", "content": "".join(WORDS)}
            self._send(200, {"id": "chat-1", "choices": [{"message": message}], "usage": USAGE})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.end_headers()
        for number, word in enumerate(WORDS):
            chunk = {
                "choices": [{"delta": {"content": word}}],
                "usage": USAGE | {"completion_tokens": number},
            }
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(f"data: {json.dumps({'choices': [], 'usage': USAGE})}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def engine(database: Database) -> Iterator[type[PlayedEngine]]:
    """A warm engine of `tiny`."""
    handler = type("Played", (PlayedEngine,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    now = clock.now()
    with database.transaction() as tx:
        row = Engine(
            id="eng_played",
            model="tiny",
            status=EngineStatus.READY,
            url=f"http://127.0.0.1:{server.server_port}",
            api_key="engine-key",
            capacity=8,
            gpus=1,
            created_at=now,
            needed_at=now,
            ready_at=now,
            heartbeat_at=now + timedelta(hours=1),
        )
        tx.add(row)
    yield handler
    with database.transaction() as tx:
        tx.delete(tx.get_one(Engine, "eng_played"))
    server.shutdown()
    server.server_close()


def chat(customer: Customer, **body: Any) -> Any:
    given = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}
    return customer.post("/v1/chat/completions", json=given | body)


def charges(database: Database, customer: Customer) -> list[Usage]:
    with database.read() as tx:
        theirs = select(Usage).where(Usage.organization_id == customer.organization_id)
        return list(tx.exec(theirs))


def test_an_answer_is_the_engine_s_own_and_charged_once(
    customer: Customer, engine: type[PlayedEngine], database: Database
) -> None:
    answer = chat(customer)
    assert (answer.status_code, answer.json()["choices"][0]["message"]["content"]) == (200, "Hello there")
    (asked,) = engine.asked
    assert (asked["path"], asked["key"]) == ("/v1/chat/completions", "Bearer engine-key")
    assert asked["body"]["priority"] == -1
    (row,) = charges(database, customer)
    assert (row.kind, row.lines, row.input_tokens, row.cached_tokens, row.output_tokens) == (
        UsageKind.SANDBOX,
        1,
        20,
        16,
        5,
    )
    assert row.prices["discount"] == 0.0


def test_limits_are_told_of_and_hold_and_what_was_not_used_is_given_back(
    operator: Customer, customer: Customer, engine: type[PlayedEngine], database: Database
) -> None:
    set_contract(operator, customer, requests_per_minute=1, tokens_per_minute=6_000)
    told = chat(customer).headers
    assert (told["x-ratelimit-limit-tokens"], told["x-ratelimit-limit-requests"]) == ("6000", "1")
    refused = chat(customer)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "requests")
    assert "requests per minute (RPM): Limit 1, Used 1, Requested 1" in refused.json()["error"]["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 60
    with database.read() as tx:
        levels = limits.used(tx, customer.organization_id, limits.ORGANIZATION, FREE)["tiny"]
    assert levels["tokens_minute"] <= 20 - 16 + 5


def test_a_stream_comes_chunk_by_chunk_without_the_counts_that_nobody_asked_for(
    customer: Customer, engine: type[PlayedEngine], database: Database
) -> None:
    said = chat(customer, stream=True).text
    chunks = [line.removeprefix("data: ") for line in said.split("\n\n") if line]
    assert chunks[-1] == "[DONE]"
    assert [json.loads(chunk)["choices"][0]["delta"]["content"] for chunk in chunks[:-1]] == list(WORDS)
    assert "usage" not in said
    asked_for = chat(customer, stream=True, stream_options={"include_usage": True}).text
    assert json.loads(asked_for.split("\n\n")[-3].removeprefix("data: "))["usage"] == USAGE
    assert [row.output_tokens for row in charges(database, customer)] == [5, 5]


def test_every_ending_makes_room_for_the_next(
    operator: Customer, customer: Customer, engine: type[PlayedEngine], database: Database
) -> None:
    set_contract(operator, customer, requests_at_once=1)

    def under_way() -> int:
        with database.read() as tx:
            return at_once.count(
                tx, organization_id=customer.organization_id, project_id=None, limit="requests_at_once"
            )

    for body in ({}, {"messages": []}, {"stream": True}, {}):
        assert chat(customer, **body).status_code in (200, 400)
        until(lambda: under_way() == 0, seconds=5.0, what="the request is counted no more")
    with database.transaction() as tx:
        at_once.begin(
            tx,
            "req_another",
            organization_id=customer.organization_id,
            project_id=customer.project_id,
            limit="requests_at_once",
            allowed=None,
            seconds=60.0,
            more="",
        )
    refused = chat(customer)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "(requests_at_once) in your organization: Limit 1, Used 1" in refused.json()["error"]["message"]


def test_what_the_engine_refuses_is_passed_on_and_free(
    customer: Customer, engine: type[PlayedEngine], database: Database
) -> None:
    answer = chat(customer, messages=[])
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "No messages.")
    assert charges(database, customer) == []


def test_a_model_that_is_not_warm_is_started_and_says_so(customer: Customer, database: Database) -> None:
    answer = chat(customer, model="yard-smoke")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_cold")
    assert answer.headers["retry-after"] == "20"
    with database.read() as tx:
        demand = tx.get_one(SandboxDemand, (customer.organization_id, "yard-smoke"))
    assert demand.base == "yard-smoke"
    with database.transaction() as tx:
        now = clock.now()
        make_engine(tx, created_at=now, ready_at=now + timedelta(seconds=31), status=EngineStatus.STOPPED)
    again = chat(customer, model="yard-smoke")
    assert "as soon as a GPU is free, usually 31 s from then" in again.json()["error"]["message"]
    assert again.headers["retry-after"] == "31"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"model": "nobody's"}, 404, "The model 'nobody's' does not exist or you do not have access to it."),
        ({"model": None}, 400, "Missing required parameter: 'model'."),
        ({"priority": -5}, 400, "Unknown parameter: 'priority'."),
        (
            {"max_tokens": 10, "pad": "x" * 20_000},
            413,
            "(line_bytes_max) of the Developer tier: Limit 10,000",
        ),
    ],
)
def test_what_cannot_be_answered_says_why(
    customer: Customer, body: dict[str, Any], status: int, said: str
) -> None:
    answer = chat(customer, **body)
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (status, True)


def test_a_tier_without_the_model_names_the_one_that_has_it(free_customer: Customer) -> None:
    answer = chat(free_customer)
    message = answer.json()["error"]["message"]
    assert (answer.status_code, "The Developer tier (" in message, message.endswith(") has it.")) == (
        403,
        True,
        True,
    )
