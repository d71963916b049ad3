"""Every route takes a scope; a key may do what its role and its scopes allow, and is told what it lacks."""

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.testclient import TestClient

from api.app import PREFIXES
from api.auth import authenticate
from api.permissions import EXCEPTIONS, needed
from orchestrator.database.session import Database
from orchestrator.organizations.model import Role
from orchestrator.organizations.scopes import GRANTED, Scope
from tests.api.conftest import Customer, make_customer

OPEN = {("GET", "/tiers"), ("POST", "/organization/invites/accept")}


def routes(app: FastAPI) -> set[tuple[str, str, bool]]:
    """Method, path without prefix, and whether a key is asked for: of everything under /v1."""
    found = set()
    for context in iter_route_contexts(app.routes):
        path = context.path or ""
        prefix = next((prefix for prefix in PREFIXES if path.startswith(prefix + "/")), None)
        if prefix is not None and isinstance(context.route, APIRoute):
            keyed = authenticate in {part.call for part in context.dependant.dependencies}
            found |= {(method, path.removeprefix(prefix), keyed) for method in context.route.methods}
    return found


def test_every_route_takes_a_scope(app: FastAPI) -> None:
    found = routes(app)
    assert {(method, path) for method, path, keyed in found if not keyed} == OPEN
    scopes = {(method, path): needed(method, path) for method, path, keyed in found if keyed}
    assert EXCEPTIONS.keys() <= scopes.keys()
    with pytest.raises(LookupError):
        needed("GET", "/filesystem")


def test_roles_grow_from_reader_to_operator() -> None:
    reader, developer, owner, operator = (
        GRANTED[role] for role in (Role.READER, Role.DEVELOPER, Role.OWNER, Role.OPERATOR)
    )
    assert reader < developer < owner < operator == set(Scope)
    assert not any(scope.endswith(":write") for scope in reader)


def test_a_reader_looks_and_is_told_who_can_grant_more(http: TestClient, database: Database) -> None:
    reader = make_customer(http, database, role=Role.READER)
    for path in ("files", "batches", "fine_tuning/jobs", "models", "usage", "limits", "organization"):
        assert reader.get(f"/v1/{path}").status_code == 200
    for answer in (reader.upload(), reader.post("/openai/v1/batches", json={})):
        assert (answer.status_code, answer.headers["x-should-retry"]) == (403, "false")
    error = answer.json()["error"]
    assert error["code"] == "insufficient_permissions"
    assert error["message"] == (
        "You have insufficient permissions for this operation. Missing scope: batches:write. This key's role "
        "is 'reader'; it takes 'developer'. An owner of your organization can make you a key, or you a "
        "member, with the role 'developer'."
    )


def test_a_developer_works_and_an_owner_decides(http: TestClient, database: Database) -> None:
    developer = make_customer(http, database, role=Role.DEVELOPER)
    assert developer.create_batch().status_code == 200
    refused = developer.post("/v1/organization/spend_limit", json={})
    assert refused.status_code == 403
    assert "it takes 'owner'" in refused.json()["error"]["message"]


def test_a_narrowed_key_still_sees_its_plan(customer: Customer) -> None:
    path = f"/v1/organization/projects/{customer.project_id}/api_keys"
    made = customer.post(path, json={"name": "ci", "scopes": ["files:write"]}).json()
    narrow = Customer(customer.http, made["key"], customer.organization_id, customer.project_id)
    assert narrow.file_id()
    assert narrow.get("/v1/files").status_code == 403
    seen = narrow.get("/v1/organization").json()
    assert (seen["plan"]["title"], seen["key"]["scopes"]) == ("Developer", ["files:write"])


def test_an_operator_s_key_may_be_narrowed_too(operator: Customer) -> None:
    path = f"/v1/organizations/{operator.organization_id}/api_keys"
    body = {"name": "watch", "role": "operator", "scopes": ["yard:read"]}
    key = operator.post(path, json=body).json()["key"]
    watcher = Customer(operator.http, key, operator.organization_id, operator.project_id)
    assert watcher.get("/v1/organizations").status_code == 200
    assert watcher.post("/v1/organizations", json={"name": "x", "tier": "free"}).status_code == 404
