"""Whatever goes wrong, a client reads OpenAI's envelope and a request id."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api import errors as rendering
from orchestrator import errors
from orchestrator.storage.store import StoreUnavailable
from tests.api.conftest import Customer


def kinds(kind: type[errors.YardError] = errors.YardError) -> list[type[errors.YardError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in kinds(child))]


@pytest.mark.parametrize("kind", kinds()[1:])
def test_every_kind_of_error_has_a_status(kind: type[errors.YardError]) -> None:
    assert 400 <= rendering.render(kind("no")).status_code <= 599


def test_a_special_kind_has_the_status_of_its_general_one() -> None:
    assert rendering.render(StoreUnavailable("away")).status_code == 503


@pytest.mark.parametrize(
    ("error", "retry_after", "should_retry"),
    [
        (errors.QuotaExceeded("used up", retry_after_seconds=7.2), "8", None),
        (errors.QuotaExceeded("used up"), "60", None),
        (errors.QuotaExceeded("no credit", code="insufficient_quota"), "60", "false"),
        (errors.Unavailable("away"), "5", None),
        (errors.Conflict("too late"), None, "false"),
        (errors.NotEntitled("not in this plan"), None, "false"),
        (errors.Invalid("wrong"), None, None),
    ],
)
def test_an_sdk_is_told_whether_and_when_to_try_again(
    error: errors.YardError, retry_after: str | None, should_retry: str | None
) -> None:
    headers = rendering.render(error).headers
    assert headers.get("retry-after") == retry_after
    assert headers.get("x-should-retry") == should_retry


def test_an_unknown_route_is_a_404_in_the_envelope(customer: Customer) -> None:
    answer = customer.get("/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "Invalid URL (GET /v1/nothing)",
        "type": "invalid_request_error",
        "param": None,
        "code": "unknown_url",
    }


def test_a_wrong_method_is_a_405_in_the_envelope(customer: Customer) -> None:
    answer = customer.delete("/v1/models")
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_supported"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "input_file_id"),
        ({"metadata": {"tags": 1}}, "invalid_type", "metadata.tags"),
        ({"endpoint": 1}, "invalid_type", "endpoint"),
        ({"surprise": 1}, "unknown_parameter", "surprise"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
            "invalid_value",
            "output_expires_after.seconds",
        ),
        ({"metadata": {"a": "\0"}}, "invalid_value", "metadata.a"),
    ],
)
def test_a_body_that_is_not_as_declared_is_a_400(
    customer: Customer, body: dict[str, Any], code: str, param: str
) -> None:
    good = {"input_file_id": "file-x", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    answer = customer.post("/v1/batches", json=good | body if body else {})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert param in error["message"]


def test_a_body_that_is_not_json_is_a_400(customer: Customer) -> None:
    answer = customer.post("/v1/batches", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "could not parse" in answer.json()["error"]["message"]


def test_a_nul_character_in_the_url_is_a_400(customer: Customer) -> None:
    for path in ("/v1/files/file-%00", "/v1/files?after=%00"):
        answer = customer.get(path)
        assert (path, answer.status_code) == (path, 400)
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_fault_of_ours_shows_its_request_id_and_nothing_of_the_inside(
    app: FastAPI, http: TestClient
) -> None:
    @app.get("/fault", include_in_schema=False)
    def fault() -> None:
        raise RuntimeError("the secret of the inside")

    answer = http.get("/fault")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "server_error"
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
    assert "secret" not in answer.text


def test_every_answer_has_a_request_id_and_its_time(customer: Customer, http: TestClient) -> None:
    for answer in (customer.get("/v1/models"), http.get("/v1/models"), http.get("/nowhere")):
        assert answer.headers["x-request-id"].startswith("req_")
        assert int(answer.headers["openai-processing-ms"]) >= 0


def test_a_client_s_own_request_id_is_kept_where_it_is_harmless(http: TestClient) -> None:
    kept = http.get("/health/live", headers={"x-request-id": "trace-1"})
    replaced = http.get("/health/live", headers={"x-request-id": "a b" * 100})
    assert kept.headers["x-request-id"] == "trace-1"
    assert replaced.headers["x-request-id"].startswith("req_")
