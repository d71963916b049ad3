"""What belongs to another organization answers exactly as what was never there."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.permissions import needed
from api.routes import webhooks
from orchestrator.database.session import Database
from orchestrator.organizations.scopes import OPERATORS
from tests.api.conftest import Customer, make_customer
from tests.api.test_adapters import brought
from tests.api.test_permissions import routes
from tests.api.test_webhooks import create as webhook

BODIES: Mapping[str, dict[str, Any]] = {
    "/uploads/{upload_id}/parts": {"files": {"data": ("p", b"x", "a/b")}},
    "/uploads/{upload_id}/complete": {"json": {"part_ids": ["part_x"]}},
    "/organization/users/{user_id}": {"json": {"role": "owner"}},
    "/organization/projects/{project_id}": {"json": {"name": "x"}},
    "/organization/projects/{project_id}/api_keys": {"json": {"name": "x"}},
    "/organization/projects/{project_id}/limits": {"json": {"limits": {"concurrent_batches": 1}}},
    "/organization/projects/{project_id}/spend_limit": {"json": {"threshold_amount": 100}},
    "/organization/projects/{project_id}/spend_alerts": {"json": {"threshold_amount": 100}},
    "/organization/projects/{project_id}/spend_alerts/{alert_id}": {"json": {"threshold_amount": 100}},
    "/organization/spend_alerts/{alert_id}": {"json": {"threshold_amount": 100}},
}
NO_IDS = {"/invoices/{month}"}


@pytest.fixture
def owners(http: TestClient, database: Database) -> tuple[Customer, Customer]:
    """Two organizations that may do all that customers may."""
    return (
        make_customer(http, database, tier="enterprise"),
        make_customer(http, database, name="Strangers", tier="enterprise"),
    )


def everything_of(owner: Customer) -> dict[str, str]:
    """An id of each kind that an organization can have, by its name in paths."""

    def made(path: str, **body: object) -> dict[str, Any]:
        answer = owner.post(f"/v1{path}", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    users = "/organization/invites"
    joined = made(users, email="joined@b.test", role="reader")["token"]
    endpoint = str(webhook(owner)["id"])
    owner.post(f"/v1/webhook_endpoints/{endpoint}/test", json={"event_type": "batch.failed"})
    (delivery,) = owner.get(f"/v1/webhook_endpoints/{endpoint}/deliveries").json()["data"]
    model = brought(owner)
    (adapter,) = owner.get("/v1/fine_tunings").json()["data"]
    upload = {"bytes": 1, "filename": "x.jsonl", "mime_type": "a/b", "purpose": "batch"}
    key = made(f"/organization/projects/{owner.project_id}/api_keys", name="another")
    return {
        "file_id": owner.file_id(),
        "batch_id": owner.batch_id(),
        "upload_id": made("/uploads", **upload)["id"],
        "job_id": owner.fine_tuning_id(),
        "import_id": adapter["id"],
        "model": model,
        "project_id": owner.project_id,
        "key_id": key["id"],
        "invite_id": made(users, email="pending@b.test", role="reader")["id"],
        "user_id": made(f"{users}/accept", token=joined, name="J")["user"]["id"],
        "alert_id": made("/organization/spend_alerts", threshold_amount=500)["id"],
        "webhook_endpoint_id": endpoint,
        "delivery_id": delivery["id"],
    }


def test_every_route_with_an_id_takes_another_organization_s_for_unknown(
    app: FastAPI, owners: tuple[Customer, Customer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TEST_SECONDS_MAX", 0.0)
    us, them = owners
    ours, theirs = everything_of(us), everything_of(them)
    unknown = {name: f"{id[:-8]}00000000" for name, id in theirs.items()}

    def ask(method: str, path: str, named: Mapping[str, str]) -> tuple[int, str]:
        url = "/v1" + re.sub(r"{(\w+)(:path)?}", lambda found: named[found[1]], path)
        headers = {"authorization": f"Bearer {us.key}"}
        how = BODIES.get(path, {}) if method == "POST" else {}
        answer = us.http.request(method, url, headers=headers, **how)
        text = answer.text
        for name, id in named.items():
            text = text.replace(id, f"<{name}>")
        return answer.status_code, text

    asked = 0
    for method, path, keyed in sorted(routes(app)):
        names = [name for name, _ in re.findall(r"{(\w+)(:path)?}", path)]
        if not names or path in NO_IDS or not keyed or needed(method, path) in OPERATORS:
            continue
        for outer in (ours, theirs) if len(names) > 1 else (theirs,):
            inner = names[-1]
            foreign = ask(method, path, outer | {inner: theirs[inner]})
            never = ask(method, path, (ours if outer is ours else unknown) | {inner: unknown[inner]})
            assert foreign == never, (method, path)
            assert foreign[0] == 404, (method, path, foreign)
            asked += 1
    assert asked > len(ours)
    for kind, path in (
        ("file_id", "/files/{}"),
        ("batch_id", "/batches/{}"),
        ("job_id", "/fine_tuning/jobs/{}"),
        ("import_id", "/fine_tunings/{}"),
        ("model", "/models/{}"),
        ("project_id", "/organization/projects/{}"),
        ("key_id", f"/organization/projects/{them.project_id}/api_keys/{{}}"),
        ("invite_id", "/organization/invites/{}"),
        ("user_id", "/organization/users/{}"),
        ("alert_id", "/organization/spend_alerts/{}"),
        ("webhook_endpoint_id", "/webhook_endpoints/{}"),
    ):  # all of it is there, and as it was
        assert them.get("/v1" + path.format(theirs[kind])).status_code == 200, kind


def test_an_operator_s_routes_do_not_exist_for_customers(
    app: FastAPI, owners: tuple[Customer, Customer]
) -> None:
    us, them = owners
    found = [
        (method, path) for method, path, keyed in routes(app) if keyed and needed(method, path) in OPERATORS
    ]
    assert len(found) > 15
    for method, path in found:
        for organization in (us.organization_id, them.organization_id, "org-unknown"):
            url = "/v1" + path.replace("{organization_id}", organization).replace(":path", "")
            headers = {"authorization": f"Bearer {us.key}"}
            assert us.http.request(method, url, headers=headers).status_code == 404, (method, url)


def test_no_list_shows_or_continues_after_what_is_another_organization_s(
    app: FastAPI, owners: tuple[Customer, Customer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TEST_SECONDS_MAX", 0.0)
    us, them = owners
    theirs = everything_of(them)
    lists = [path for method, path, _ in routes(app) if method == "GET" and "{" not in path]
    for path in lists:
        shown = us.get(f"/v1{path}").text
        assert not [id for id in theirs.values() if id in shown], path
    cursors = {
        "/files": "file_id",
        "/batches": "batch_id",
        "/fine_tuning/jobs": "job_id",
        "/webhook_endpoints": "webhook_endpoint_id",
        "/organization/projects": "project_id",
        "/organization/invites": "invite_id",
        "/organization/users": "user_id",
        "/organization/spend_alerts": "alert_id",
        f"/organization/projects/{us.project_id}/api_keys": "key_id",
    }
    for path, kind in cursors.items():
        foreign = us.get(f"/v1{path}", params={"after": theirs[kind]})
        never = us.get(f"/v1{path}", params={"after": "unknown"})
        assert foreign.status_code == never.status_code == 400, path
        assert foreign.text.replace(theirs[kind], "unknown") == never.text


def test_another_organization_s_file_cannot_be_a_batch_s_input(
    customer: Customer, stranger: Customer
) -> None:
    theirs = stranger.file_id()
    answer = customer.create_batch(theirs)
    unknown = customer.create_batch("file-unknown")
    assert answer.status_code == unknown.status_code == 400
    assert answer.text.replace(theirs, "file-unknown") == unknown.text


def test_idempotency_keys_are_a_project_s_own(customer: Customer, stranger: Customer) -> None:
    ours = customer.batch_id(idempotency_key="shared")
    assert stranger.batch_id(idempotency_key="shared") != ours
