"""Nobody without a key learns anything, and everybody with one learns their plan."""

import pytest
import structlog
from starlette.testclient import TestClient

from orchestrator.database.session import Database
from orchestrator.organizations import service as organizations
from tests.api.conftest import Customer

PATHS = ["/v1/files", "/v1/batches", "/v1/models", "/v1/organization", "/openai/v1/batches"]


@pytest.mark.parametrize("path", PATHS)
def test_without_a_key_the_answer_says_how_to_send_one(http: TestClient, path: str) -> None:
    for headers in ({}, {"authorization": "Basic abc"}, {"authorization": "Bearer "}):
        answer = http.get(path, headers=headers)
        assert answer.status_code == 401
        assert "Authorization: Bearer YOUR_KEY" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_key_is_refused_and_not_repeated(http: TestClient, path: str) -> None:
    answer = http.get(path, headers={"authorization": "Bearer sk-guessed-by-somebody"})
    error = answer.json()["error"]
    assert answer.status_code == 401
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert "guessed-by" not in answer.text


def test_a_key_of_odd_characters_is_refused_like_any_other(http: TestClient) -> None:
    answer = http.get("/v1/models", headers={"authorization": b"Bearer \xff\xfe'"})
    assert answer.status_code == 401


def test_every_authenticated_answer_names_the_tier(customer: Customer) -> None:
    for answer in (customer.get("/v1/models"), customer.get("/v1/files/file-unknown")):
        assert answer.headers["x-yard-tier"] == "developer"


def test_a_new_tier_holds_from_the_next_request_on(customer: Customer, database: Database) -> None:
    with database.transaction() as tx:
        organizations.set_tier(tx, organization_id=customer.organization_id, tier="free")
    assert customer.get("/v1/models").headers["x-yard-tier"] == "free"
    plan = customer.get("/v1/organization").json()
    assert (plan["tier"], plan["plan"]["title"]) == ("free", "Free")


def test_the_organization_shows_its_plan_and_what_is_used_of_it(customer: Customer) -> None:
    customer.batch_id()
    seen = customer.get("/v1/organization").json()
    assert seen["id"] == customer.organization_id
    assert seen["plan"]["concurrent_batches"] == 40
    assert seen["use"]["live_batches"] == 1
    assert seen["use"]["batch_lines_today"] == 3
    assert seen["use"]["queued_tokens"]["yard-smoke"] > 0


def test_no_log_holds_a_key_or_a_token(http: TestClient, customer: Customer) -> None:
    with structlog.testing.capture_logs() as lines:
        path = f"/v1/organization/projects/{customer.project_id}/api_keys"
        made = customer.post(path, json={"name": "ci"}).json()
        assert customer.get(f"{path}?after={made['key']}").status_code == 400
        invite = {"email": "a@b.test", "role": "reader"}
        token = customer.post("/v1/organization/invites", json=invite).json()["token"]
        accepted = http.post("/v1/organization/invites/accept", json={"token": token, "name": "A"})
        guess = {"authorization": "Bearer yard_sk_guess"}
        assert http.get("/v1/models", headers=guess).status_code == 401
    assert len(lines) == 5
    written = str(lines)
    for secret in (customer.key, made["key"], token, accepted.json()["api_key"]["key"], "yard_sk_guess"):
        assert secret not in written
