"""Every route that changes who may do what, within which limits and at what price, is audited."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from sqlmodel import Session, select
from starlette.testclient import TestClient

from api.permissions import Family, needed
from orchestrator.audit.actions import Action
from orchestrator.audit.model import AuditEntry
from orchestrator.database.session import Database
from tests.api.conftest import Customer, make_customer
from tests.api.test_permissions import routes

AUDITED = {Family.ORGANIZATION, Family.KEYS, Family.SPENDING, Family.WEBHOOKS, Family.YARD}
CHANGE_NOTHING = {
    ("POST", "/webhook_endpoints/{webhook_endpoint_id}/test"),
    ("POST", "/webhook_endpoints/{webhook_endpoint_id}/deliveries/{delivery_id}/retry"),
    ("POST", "/models/{model:path}"),  # whether an adapter is shared
}
PROJECT = "/organization/projects/{project_id}"
THEIRS = "/organizations/{organization_id}"
ENDPOINT = "/webhook_endpoints/{webhook_endpoint_id}"
INVITE = {"email": "ada@b.test", "role": "reader"}
NAMED = {"name": "n"}
CAP = {"threshold_amount": 100_000}
HIGHER = {"threshold_amount": 200_000}
HOOK = {"name": "h", "url": "https://example.com/", "event_types": ["batch.failed"]}
PRICES = {"yard-smoke": {"input": 1, "cached_input": 1, "output": 1}}


@dataclass(frozen=True)
class Step:
    """A request, and what the log tells of it. `gives` is the name in later paths of the id in its answer."""

    method: str
    path: str
    tells: tuple[Action, ...]
    body: Mapping[str, Any] = field(default_factory=dict)
    gives: str | None = None


def post(path: str, body: Mapping[str, Any], *tells: Action, gives: str | None = None) -> Step:
    return Step("POST", path, tells, body, gives)


def delete(path: str, *tells: Action) -> Step:
    return Step("DELETE", path, tells)


STEPS = (
    post("/organization/invites", INVITE, Action.INVITE_SENT, gives="invite_id"),
    delete("/organization/invites/{invite_id}", Action.INVITE_DELETED),
    post("/organization/invites", INVITE, Action.INVITE_SENT, gives="token"),
    post(
        "/organization/invites/accept",
        {"name": "Ada"},
        Action.INVITE_ACCEPTED,
        Action.USER_ADDED,
        Action.API_KEY_CREATED,
        gives="user_id",
    ),
    post("/organization/users/{user_id}", {"role": "developer"}, Action.USER_UPDATED),
    delete("/organization/users/{user_id}", Action.USER_DELETED),  # which names the keys that end
    post("/organization/admin_api_keys", NAMED, Action.API_KEY_CREATED, gives="key_id"),
    delete("/organization/admin_api_keys/{key_id}", Action.API_KEY_DELETED),
    post("/organization/projects", NAMED, Action.PROJECT_CREATED, gives="project_id"),
    post(PROJECT, {"name": "m"}, Action.PROJECT_UPDATED),
    post(f"{PROJECT}/limits", {"limits": {"concurrent_batches": 1}}, Action.LIMITS_UPDATED),
    post(f"{PROJECT}/api_keys", NAMED, Action.API_KEY_CREATED, gives="key_id"),
    post(f"{PROJECT}/api_keys/{{key_id}}", {"scopes": ["files:read"]}, Action.API_KEY_UPDATED),
    delete(f"{PROJECT}/api_keys/{{key_id}}", Action.API_KEY_DELETED),
    post(f"{PROJECT}/spend_limit", CAP, Action.SPEND_LIMIT_UPDATED),
    delete(f"{PROJECT}/spend_limit", Action.SPEND_LIMIT_DELETED),
    post(f"{PROJECT}/spend_alerts", CAP, Action.SPEND_ALERT_CREATED, gives="alert_id"),
    post(f"{PROJECT}/spend_alerts/{{alert_id}}", HIGHER, Action.SPEND_ALERT_UPDATED),
    delete(f"{PROJECT}/spend_alerts/{{alert_id}}", Action.SPEND_ALERT_DELETED),
    post(f"{PROJECT}/archive", {}, Action.PROJECT_ARCHIVED),
    post("/organization/spend_limit", CAP, Action.SPEND_LIMIT_UPDATED),
    delete("/organization/spend_limit", Action.SPEND_LIMIT_DELETED),
    post("/organization/spend_alerts", CAP, Action.SPEND_ALERT_CREATED, gives="alert_id"),
    post("/organization/spend_alerts/{alert_id}", HIGHER, Action.SPEND_ALERT_UPDATED),
    delete("/organization/spend_alerts/{alert_id}", Action.SPEND_ALERT_DELETED),
    post("/webhook_endpoints", HOOK, Action.WEBHOOK_CREATED, gives="webhook_endpoint_id"),
    post(ENDPOINT, {"name": "i"}, Action.WEBHOOK_UPDATED),
    post(f"{ENDPOINT}/rotate_secret", {}, Action.WEBHOOK_ROTATED),
    delete(ENDPOINT, Action.WEBHOOK_DELETED),
    post(THEIRS, {"tier": "developer"}, Action.TIER_UPDATED),
    post(THEIRS, {"support_contact": "a@b.test"}, Action.ORGANIZATION_UPDATED),
    post(f"{THEIRS}/limits", {"limits": {"concurrent_batches": 7}}, Action.LIMITS_UPDATED),
    post(f"{THEIRS}/prices", {"prices": PRICES}, Action.PRICES_UPDATED),
    post(
        f"{THEIRS}/reservations",
        {"model": "yard-smoke", "engines": 1},
        Action.RESERVATION_UPDATED,
        gives="model",
    ),
    delete(f"{THEIRS}/reservations/{{model:path}}", Action.RESERVATION_DELETED),
    post(f"{THEIRS}/projects", NAMED, Action.PROJECT_CREATED),
    post(f"{THEIRS}/api_keys", NAMED, Action.API_KEY_CREATED, gives="key_id"),
    delete(f"{THEIRS}/api_keys/{{key_id}}", Action.API_KEY_DELETED),
    post(
        "/organizations",
        {"name": "New", "tier": "free"},
        Action.ORGANIZATION_CREATED,
        gives="organization_id",
    ),
)


def test_every_route_that_decides_is_among_the_steps(app: FastAPI) -> None:
    deciding = {
        (method, path)
        for method, path, keyed in routes(app)
        if method != "GET" and (not keyed or _family(method, path) in AUDITED)
    }
    assert {(step.method, step.path) for step in STEPS} == deciding - CHANGE_NOTHING


def test_each_of_them_is_told_once_with_who_did_it(
    http: TestClient, operator: Customer, database: Database
) -> None:
    owner = make_customer(http, database, tier="enterprise")
    named = {"organization_id": owner.organization_id}
    for step in STEPS:
        who = operator if _family(step.method, step.path) is Family.YARD else owner
        url = "/v1" + re.sub(r"{(\w+)(:path)?}", lambda found: named[found[1]], step.path)
        body = dict(step.body)
        if step.path.endswith("/accept"):
            body["token"] = named["token"]
        before = _entries(database)
        how = {"json": body} if step.method == "POST" else {}
        answer = http.request(step.method, url, headers={"authorization": f"Bearer {who.key}"}, **how)
        assert answer.status_code == 200, (step, answer.text)
        if step.gives:
            named[step.gives] = _id(answer.json(), step.gives)
        told = [entry for id, entry in _entries(database).items() if id not in before]
        assert Counter(entry.action for entry in told) == Counter(step.tells), step
        assert {entry.organization_id for entry in told} == {named["organization_id"]}, step
        secret = answer.json().get("key") or answer.json().get("value") or answer.json().get("signing_secret")
        assert not secret or str(secret) not in f"{[entry.model_dump() for entry in told]}", step


def _family(method: str, path: str) -> Family | None:
    try:
        scope = needed(method, path)
    except LookupError:
        return None
    return scope and Family(scope.partition(":")[0])


def _entries(database: Database) -> dict[str, AuditEntry]:
    with database.read() as tx:
        return _all(tx)


def _all(tx: Session) -> dict[str, AuditEntry]:
    return {entry.id: entry for entry in tx.exec(select(AuditEntry))}


def _id(answer: Mapping[str, Any], name: str) -> str:
    match name:
        case "token" | "model":
            return str(answer[name])
        case "user_id":
            return str(answer["user"]["id"])
        case _:
            return str(answer["id"])
