"""Health says what is missing, by name, and never more than it knows."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.database.tables import Lease
from orchestrator.settings import Settings


class FakePrefect(BaseHTTPRequestHandler):
    """Prefect's health, and its list of workers of a pool."""

    workers: ClassVar[dict[str, list[dict[str, str]]]] = {}

    def do_GET(self) -> None:
        self._answer(200, True)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        pool = self.path.split("/")[3]
        known = pool in self.workers
        self._answer(200 if known else 404, self.workers.get(pool, {"detail": "not found"}))

    def log_message(self, *args: Any) -> None: ...

    def _answer(self, status: int, body: Any) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)


@pytest.fixture
def prefect() -> Iterator[ThreadingHTTPServer]:
    FakePrefect.workers = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakePrefect)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def lead(database: Database, *, seconds: float) -> None:
    """A dispatcher's lease that ends in so many seconds."""
    expires_at = clock.now() + timedelta(seconds=seconds)
    with database.transaction() as tx:
        tx.merge(Lease(name="dispatcher", token="t", expires_at=expires_at))


def test_a_living_process_says_so_without_a_key(http: TestClient) -> None:
    answer = http.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_a_yard_with_nothing_around_it_names_what_is_missing(http: TestClient, database: Database) -> None:
    lead(database, seconds=-1)
    answer = http.get("/health/ready")
    seen = answer.json()
    assert (answer.status_code, seen["ready"]) == (503, False)
    assert seen["missing"] == ["dispatcher", "prefect", "workers"]
    assert (seen["checks"]["database"], seen["checks"]["store"]) == ("ok", "ok")
    assert "flows.dispatcher" in seen["checks"]["dispatcher"]


def test_a_yard_is_ready_once_each_part_is_there(
    settings: Settings, database: Database, prefect: ThreadingHTTPServer
) -> None:
    lead(database, seconds=60)
    with TestClient(create_app(settings.model_copy(update={"prefect_port": prefect.server_port}))) as client:

        def missing() -> list[str]:
            seen: list[str] = client.get("/health/ready").json()["missing"]
            return seen

        assert missing() == ["workers"]  # no pools yet
        FakePrefect.workers = {"cpu": [{"status": "ONLINE"}], "gpu": [{"status": "OFFLINE"}]}
        assert missing() == ["workers"]  # nobody for the GPUs
        FakePrefect.workers["gpu"].append({"status": "ONLINE"})
        answer = client.get("/health/ready")
        assert (answer.status_code, answer.json()["ready"]) == (200, True)


def test_a_database_that_is_away_is_named_and_nothing_else_is_said(settings: Settings) -> None:
    nowhere = settings.model_copy(
        update={"database_url": type(settings.database_url)("postgresql://u:secret@127.0.0.1:9/x")}
    )
    with TestClient(create_app(nowhere)) as client:
        answer = client.get("/health/ready")
        request = client.get("/v1/files", headers={"authorization": "Bearer any"})
    assert (request.status_code, request.headers["retry-after"]) == (503, "5")
    assert answer.status_code == 503
    assert answer.json()["missing"][:1] == ["database"]
    assert "secret" not in answer.text
