"""Limits in force, and who may set which."""

from typing import Any

import pytest

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.entitlements.tiers import Tiers
from orchestrator.limits import service as limits
from orchestrator.organizations import keys, projects
from orchestrator.organizations.model import Role
from tests.api.conftest import Customer

FREE = Tiers.load()["free"]


def in_force(customer: Customer, name: str, scope: str = "organization") -> dict[str, Any]:
    found = customer.get("/v1/limits").json()["data"]
    return next(limit for limit in found if (limit["name"], limit["scope"]) == (name, scope))


def set_contract(operator: Customer, customer: Customer, **limits: int | None) -> int:
    path = f"/v1/organizations/{customer.organization_id}/limits"
    return operator.post(path, json={"limits": limits}).status_code


def set_project(customer: Customer, **limits: int) -> Any:
    path = f"/v1/organization/projects/{customer.project_id}/limits"
    return customer.post(path, json={"limits": limits})


def test_every_limit_of_the_plan_is_there_with_its_use(free_customer: Customer) -> None:
    free_customer.batch_id()
    lines = in_force(free_customer, "batch_lines_per_day")
    assert (lines["limit"], lines["used"], lines["remaining"], lines["source"]) == (8, 3, 5, "tier")
    assert 0 < lines["resets_at"] - clock.unix(clock.now()) <= 86_400
    assert in_force(free_customer, "concurrent_batches")["used"] == 1
    assert in_force(free_customer, "fine_tuning_jobs")["limit"] == 0
    assert in_force(free_customer, "file_bytes_max")["used"] is None


def test_what_synchronous_requests_have_used_is_shown_by_model(
    operator: Customer, customer: Customer, database: Database
) -> None:
    set_contract(operator, customer, tokens_per_minute=6_000, tokens_per_day=100_000)
    caller = limits.Caller(customer.organization_id, customer.project_id, FREE)
    with database.transaction() as tx:
        limits.take(tx, caller, "tiny", tokens=600, tiers=Tiers.load())
    a_day = in_force(customer, "tokens_per_day")
    assert (a_day["model"], a_day["limit"], a_day["used"]) == ("tiny", 100_000, 600)
    empty_in = a_day["resets_at"] - clock.unix(clock.now())
    assert empty_in == pytest.approx(600 * 86_400 / 100_000, abs=5)


def test_a_contract_takes_the_place_of_the_tier_s_limits_at_once(
    operator: Customer, free_customer: Customer
) -> None:
    assert set_contract(operator, free_customer, concurrent_batches=2, batch_lines_per_day=None) == 200
    assert in_force(free_customer, "concurrent_batches")["source"] == "contract"
    file_id = free_customer.file_id()
    codes = [free_customer.create_batch(file_id).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    assert in_force(free_customer, "batch_lines_per_day")["limit"] is None


def test_a_project_s_own_limit_counts_its_own_batches(customer: Customer, database: Database) -> None:
    with database.transaction() as tx:
        project = projects.create(tx, organization_id=customer.organization_id, name="other")
        _, key = keys.create(tx, project_id=project.id, name="other", role=Role.OWNER)
    other = Customer(customer.http, key, customer.organization_id, project.id)
    assert set_project(other, concurrent_batches=1).status_code == 200
    customer.batch_id()
    other.batch_id()
    assert other.create_batch().status_code == 429
    customer.batch_id()
    used = in_force(other, "concurrent_batches", "project")
    assert (used["limit"], used["used"], used["source"]) == (1, 1, "project")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (
            {"concurrent_batches": 41},
            "A project can only lower 'concurrent_batches': your organization has 40",
        ),
        ({"lines": 1}, "Unknown limit 'lines'. There are: file_bytes_max"),
        ({"requests_per_day": 0}, "a whole number from 1; found 0"),
    ],
)
def test_a_project_s_limit_that_cannot_be_is_a_400(
    customer: Customer, limits: dict[str, int], said: str
) -> None:
    answer = set_project(customer, **limits)
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (400, True)


def test_only_owners_lower_limits_and_only_operators_set_contracts(
    customer: Customer, stranger: Customer, database: Database
) -> None:
    with database.transaction() as tx:
        _, key = keys.create(tx, project_id=customer.project_id, name="dev", role=Role.DEVELOPER)
    developer = Customer(customer.http, key, customer.organization_id, customer.project_id)
    assert set_project(developer, concurrent_batches=1).status_code == 403
    assert set_contract(customer, customer, concurrent_batches=None) == 404
    foreign = Customer(customer.http, customer.key, customer.organization_id, stranger.project_id)
    assert set_project(foreign, concurrent_batches=1).status_code == 404
