"""Webhook endpoints over HTTP: what is shown and when, who may see it, and what is refused."""

import pytest
from sqlmodel import select
from starlette.testclient import TestClient

from api.routes import webhooks
from orchestrator import clock
from orchestrator.audit.model import AuditEntry
from orchestrator.database.session import Database
from orchestrator.organizations.model import Role
from orchestrator.webhooks import deliveries, endpoints
from orchestrator.webhooks.deliveries import Attempt
from tests.api.conftest import Customer, make_customer

ENDPOINTS = "/v1/webhook_endpoints"
NEW = {"name": "hook", "url": "https://hooks.example.com/yard?key=1", "event_types": ["batch.completed"]}


def create(customer: Customer, **body: object) -> dict[str, object]:
    answer = customer.post(ENDPOINTS, json=NEW | body)
    assert answer.status_code == 200, answer.text
    made: dict[str, object] = answer.json()
    return made


def test_a_secret_is_shown_when_it_is_made_and_rotated_and_never_again(
    customer: Customer, database: Database
) -> None:
    made = create(customer)
    path = f"{ENDPOINTS}/{made['id']}"
    rotated = customer.post(f"{path}/rotate_secret").json()
    assert made["signing_secret"] != rotated["signing_secret"]
    assert rotated["old_secret_active_until"] is not None
    seen = [customer.get(path), customer.get(ENDPOINTS), customer.post(path, json={"name": "other"})]
    with database.read() as tx:
        audit = str(tx.exec(select(AuditEntry).where(AuditEntry.subject_id == made["id"])).all())
    for secret in (made["signing_secret"], rotated["signing_secret"]):
        assert secret not in audit
        assert all(str(secret) not in answer.text for answer in seen)
    assert "key=1" not in audit  # nor what may be a secret of the receiver's
    now = customer.post(f"{path}/rotate_secret", json={"keep_old_secret_active_for_24_hours": False}).json()
    assert now["old_secret_active_until"] is None


def test_an_endpoint_is_changed_disabled_enabled_and_deleted(customer: Customer, database: Database) -> None:
    path = f"{ENDPOINTS}/{create(customer)['id']}"
    changed = customer.post(path, json={"url": "https://other.example.com/", "event_types": ["batch.failed"]})
    assert (changed.json()["url"], changed.json()["event_types"]) == (
        "https://other.example.com/",
        ["batch.failed"],
    )
    disabled = customer.post(path, json={"enabled": False}).json()
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "Disabled by hand.")
    assert customer.post(path, json={"enabled": True}).json()["enabled"] is True
    assert customer.delete(path).json()["object"] == "webhook_endpoint.deleted"
    assert customer.get(path).status_code == 404
    with database.read() as tx:
        order = (AuditEntry.created_at, AuditEntry.id)
        mine = AuditEntry.organization_id == customer.organization_id
        actions = tx.exec(select(AuditEntry.action).where(mine).order_by(*order)).all()
    kinds = ["created", "updated", "disabled", "updated", "deleted"]
    assert [action for action in actions if action.startswith("webhook")] == [f"webhook.{k}" for k in kinds]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"url": "http://hooks.example.com/"}, "url", "begins with https://"),
        ({"url": "https://169.254.169.254/"}, "url", "YARD_WEBHOOK_PRIVATE_ADDRESSES=true"),
        ({"event_types": ["response.completed"]}, "event_types", "found 'response.completed'"),
        ({"event_types": []}, "event_types", "found none"),
        ({"event_types": ["webhook.test"]}, "event_types", "batch.completed, batch.failed"),
    ],
)
def test_what_cannot_work_is_refused_in_words(
    customer: Customer, body: dict[str, object], param: str, words: str
) -> None:
    answer = customer.post(ENDPOINTS, json=NEW | body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert words in answer.json()["error"]["message"]


def test_a_project_has_a_bounded_number_of_them(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "ENDPOINTS_MAX", 1)
    create(customer)
    assert customer.post(ENDPOINTS, json=NEW).status_code == 409


def test_another_organizations_endpoint_is_unknown(customer: Customer, stranger: Customer) -> None:
    path = f"{ENDPOINTS}/{create(stranger)['id']}"
    asks = [
        *(customer.get(path + end) for end in ("", "/deliveries")),
        *(customer.post(path + end, json={}) for end in ("", "/rotate_secret", "/test")),
        customer.post(f"{path}/deliveries/delivery_1/retry"),
        customer.delete(path),
    ]
    assert [answer.status_code for answer in asks] == [404] * 7
    assert customer.get(ENDPOINTS).json()["data"] == []
    assert stranger.get(path).status_code == 200


def test_a_reader_looks_and_changes_nothing(customer: Customer, http: TestClient, database: Database) -> None:
    reader = make_customer(http, database, role=Role.READER)
    assert reader.get(ENDPOINTS).status_code == 200
    assert reader.post(ENDPOINTS, json=NEW).status_code == 403


def test_the_log_shows_each_attempt_and_sends_again(
    customer: Customer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TEST_SECONDS_MAX", 0.0)
    endpoint_id = str(create(customer)["id"])
    path = f"{ENDPOINTS}/{endpoint_id}"
    late = customer.post(f"{path}/test", json={"event_type": "batch.failed"})
    assert (late.status_code, late.headers["x-should-retry"]) == (503, "false")
    with database.transaction() as tx:
        (outgoing,) = (o for o in deliveries.claim(tx, limit=9, busy=()) if o.endpoint_id == endpoint_id)
        deliveries.record(tx, outgoing, Attempt(clock.now(), None, "the connection was refused", 3))
    (shown,) = customer.get(f"{path}/deliveries").json()["data"]
    assert (shown["status"], shown["test"], shown["event"]["type"]) == ("failed", True, "batch.failed")
    assert shown["event"]["id"] == outgoing.event_id
    assert shown["attempts"][0]["error"] == "the connection was refused"
    again = customer.post(f"{path}/deliveries/{shown['id']}/retry").json()
    assert (again["status"], len(again["attempts"])) == ("pending", 1)
