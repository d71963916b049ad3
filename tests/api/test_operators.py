"""Running the yard over HTTP: organizations, tiers, projects, keys."""

from typing import Any

import pytest

from tests.api.conftest import Customer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/organizations"),
        ("POST", "/v1/organizations"),
        ("GET", "/v1/organizations/{own}"),
        ("POST", "/v1/organizations/{own}"),
        ("GET", "/v1/organizations/{own}/projects"),
        ("POST", "/v1/organizations/{own}/projects"),
        ("GET", "/v1/organizations/{own}/api_keys"),
        ("POST", "/v1/organizations/{own}/api_keys"),
        ("DELETE", "/v1/organizations/{own}/api_keys/key_x"),
        ("GET", "/v1/reservations"),
        ("POST", "/v1/organizations/{own}/reservations"),
        ("DELETE", "/v1/organizations/{own}/reservations/yard-smoke"),
    ],
)
def test_to_a_customer_the_operator_s_routes_do_not_exist(customer: Customer, method: str, path: str) -> None:
    path = path.format(own=customer.organization_id)
    body = {"json": {"name": "x", "tier": "developer"}} if method == "POST" else {}
    answer = customer.http.request(method, path, headers={"authorization": f"Bearer {customer.key}"}, **body)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"Invalid URL ({method} {path})"


def test_an_operator_makes_an_organization_and_a_key_that_works(
    operator: Customer, customer: Customer
) -> None:
    made = operator.post("/v1/organizations", json={"name": "Search", "tier": "free"}).json()
    assert (made["object"], made["tier"]) == ("organization", "free")
    path = f"/v1/organizations/{made['id']}"
    key = operator.post(f"{path}/api_keys", json={"name": "ci"}).json()
    member = Customer(customer.http, key["key"], made["id"], key["project_id"])
    assert member.get("/v1/organization").json()["name"] == "Search"
    assert member.get("/v1/models").headers["x-yard-tier"] == "free"
    operator.post(path, json={"tier": "developer"})
    assert member.get("/v1/models").headers["x-yard-tier"] == "developer"


def test_a_key_is_shown_once_and_ends_at_once(operator: Customer, customer: Customer) -> None:
    path = f"/v1/organizations/{customer.organization_id}/api_keys"
    made = operator.post(path, json={"name": "ci"}).json()
    listed = operator.get(path)
    assert made["key"] not in listed.text
    shown = next(key for key in listed.json()["data"] if key["id"] == made["id"])
    assert (shown["name"], shown["role"], shown["revoked_at"]) == ("ci", "owner", None)
    assert made["key"].endswith(shown["hint"])
    holder = Customer(customer.http, made["key"], customer.organization_id, made["project_id"])
    assert holder.get("/v1/models").status_code == 200
    assert operator.delete(f"{path}/{made['id']}").json()["deleted"] is True
    assert holder.get("/v1/models").status_code == 401


def test_a_project_has_keys_of_its_own_and_shares_its_organization_s_files(
    operator: Customer, customer: Customer
) -> None:
    path = f"/v1/organizations/{customer.organization_id}"
    project = operator.post(f"{path}/projects", json={"name": "night"}).json()
    names = [found["name"] for found in operator.get(f"{path}/projects").json()["data"]]
    assert names == ["default", "night"]
    key = operator.post(f"{path}/api_keys", json={"name": "n", "project_id": project["id"]}).json()
    assert key["project_id"] == project["id"]
    member = Customer(customer.http, key["key"], customer.organization_id, project["id"])
    assert member.get(f"/v1/files/{customer.file_id()}").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("", {"name": "x", "tier": "platinum"}, 400),
        ("", {"name": "", "tier": "free"}, 400),
        ("/org_unknown", {"tier": "free"}, 404),
        ("/org_unknown/projects", {"name": "x"}, 404),
        ("/org_unknown/api_keys", {"name": "x"}, 404),
        ("/{own}/api_keys", {"name": "x", "project_id": "proj_unknown"}, 404),
        ("/{own}/api_keys", {"name": "x", "role": "king"}, 400),
        ("/{own}", {"tier": "platinum"}, 400),
        ("/{own}", {"priority": -900}, 400),
        ("/{own}/reservations", {"model": "nobody", "share": 0.5}, 400),
        ("/{own}/reservations", {"model": "yard-smoke"}, 400),
        ("/{own}/reservations", {"model": "yard-smoke", "share": 1.5}, 400),
        ("/{own}/reservations", {"model": "yard-smoke", "engines": 99}, 409),
        ("/org_unknown/reservations", {"model": "yard-smoke", "share": 0.5}, 404),
    ],
)
def test_what_cannot_be_is_refused(operator: Customer, path: str, body: dict[str, Any], status: int) -> None:
    path = "/v1/organizations" + path.format(own=operator.organization_id)
    assert operator.post(path, json=body).status_code == status


def test_a_key_is_revoked_only_through_its_own_organization(
    operator: Customer, customer: Customer, stranger: Customer
) -> None:
    path = "/v1/organizations/{}/api_keys"
    theirs = operator.get(path.format(stranger.organization_id)).json()["data"][0]["id"]
    wrong = operator.delete(f"{path.format(customer.organization_id)}/{theirs}")
    assert wrong.status_code == 404
    assert stranger.get("/v1/models").status_code == 200


def test_organizations_are_listed_page_by_page(operator: Customer, customer: Customer) -> None:
    page = operator.get("/v1/organizations", params={"limit": 1}).json()
    assert (len(page["data"]), page["has_more"]) == (1, True)
    following = operator.get("/v1/organizations", params={"limit": 100, "after": page["last_id"]}).json()
    listed = {found["id"] for found in page["data"] + following["data"]}
    assert operator.organization_id in listed


def test_what_an_operator_changes_stands_in_the_organization_s_audit_log(
    operator: Customer, customer: Customer
) -> None:
    path = f"/v1/organizations/{customer.organization_id}"
    operator.post(path, json={"tier": "free"})
    operator.post(f"{path}/limits", json={"limits": {"concurrent_batches": 7}})
    key_id = operator.post(f"{path}/api_keys", json={"name": "ci"}).json()["id"]
    operator.delete(f"{path}/api_keys/{key_id}")
    told = customer.get("/v1/organization/audit_logs").json()["data"]
    by_operator = [entry for entry in told if entry["actor"]["by"] == "operator"]
    assert [(entry["type"], entry["resource_id"]) for entry in by_operator] == [
        ("api_key.deleted", key_id),
        ("api_key.created", key_id),
        ("limits.updated", customer.organization_id),
        ("tier.updated", customer.organization_id),
    ]
    assert (by_operator[3]["before"], by_operator[3]["after"]) == ({"tier": "developer"}, {"tier": "free"})
    assert operator.get("/v1/organization/audit_logs").json()["data"][0]["type"] != "tier.updated"


def test_a_customer_cannot_make_an_operator(customer: Customer) -> None:
    path = f"/v1/organization/projects/{customer.project_id}/api_keys"
    assert customer.post(path, json={"name": "x", "role": "operator"}).status_code == 400
    refused = customer.post(path, json={"name": "x", "role": "owner", "scopes": ["yard:write"]})
    assert "does not have the scope 'yard:write'" in refused.json()["error"]["message"]
    invite = {"email": "a@b.test", "role": "operator"}
    assert customer.post("/v1/organization/invites", json=invite).status_code == 400


def test_a_contract_s_priority_and_contact_are_on_the_plan_page(
    operator: Customer, trainer: Customer
) -> None:
    path = f"/v1/organizations/{trainer.organization_id}"
    operator.post(f"{path}/limits", json={"limits": {"concurrent_batches": 7}})
    changed = operator.post(path, json={"priority": -3, "support_contact": "ada@example.com"}).json()
    assert (changed["tier"], changed["priority"], changed["support_contact"]) == (
        "enterprise",
        -3,
        "ada@example.com",
    )
    seen = trainer.get("/v1/organization").json()
    assert (seen["plan"]["support_contact"], seen["plan"]["concurrent_batches"]) == ("ada@example.com", 7)
    assert operator.post(path, json={"support_contact": None}).json()["priority"] == -3
    entries = trainer.get("/v1/organization/audit_logs").json()["data"][:2]
    assert [(entry["before"], entry["after"]) for entry in entries] == [
        ({"support_contact": "ada@example.com"}, {"support_contact": None}),
        ({"priority": 0, "support_contact": None}, {"priority": -3, "support_contact": "ada@example.com"}),
    ]


def test_reserved_capacity_is_on_the_plan_page_and_is_never_promised_twice(
    operator: Customer, trainer: Customer, customer: Customer
) -> None:
    path = "/v1/organizations/{}/reservations"
    theirs, others = path.format(trainer.organization_id), path.format(customer.organization_id)
    made = operator.post(theirs, json={"model": "yard-smoke", "share": 0.75})
    assert made.status_code == 200, made.text
    (seen,) = trainer.get("/v1/organization").json()["reserved"]
    assert (seen["model"], seen["share"]) == ("yard-smoke", 0.75)
    refused = operator.post(others, json={"model": "yard-smoke", "share": 0.5})
    assert refused.status_code == 409
    assert "at most 0.25 is left" in refused.json()["error"]["message"]
    assert seen in operator.get("/v1/reservations").json()["data"]
    assert customer.get("/v1/organization").json()["reserved"] == []
    assert operator.delete(f"{theirs}/yard-smoke").json()["deleted"] is True
    assert operator.delete(f"{theirs}/yard-smoke").status_code == 404
    assert trainer.get("/v1/organization").json()["reserved"] == []
    log = trainer.get("/v1/organization/audit_logs").json()["data"][:2]
    assert [entry["type"] for entry in log] == ["reservation.deleted", "reservation.updated"]


def test_nothing_is_reserved_of_a_model_that_the_tier_does_not_have(
    operator: Customer, free_customer: Customer
) -> None:
    path = f"/v1/organizations/{free_customer.organization_id}/reservations"
    refused = operator.post(path, json={"model": "org/large", "share": 0.5})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_permitted")
