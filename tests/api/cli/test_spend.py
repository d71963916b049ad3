from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi

LIMIT = {
    "object": "organization.spend_limit",
    "enforcement": {"status": "enforcing"},
    "threshold_micros": 25_000_000,
    "spent_micros": 24_000_000,
    "held_micros": 1_000_000,
    "open_micros": 0,
    "resets_at": 1_790_000_000,
}
ALERT = {"id": "spend_alert_1", "threshold_micros": 20_000_000, "alerted_at": None}


def test_a_limit_is_set_in_dollars_and_shown_as_it_stands(yard: Yard, api: ScriptedApi) -> None:
    api.on("POST /v1/organization/spend_limit", LIMIT)
    shown = yard("spend", "limit", "25.10").stdout
    assert api.asked[0].json() == {"threshold_amount": 2_510}
    assert "$25.00 a month, reached: nothing new can begin" in shown
    assert "$24.00" in shown


def test_a_projects_limit_is_taken_away(yard: Yard, api: ScriptedApi) -> None:
    path = "/v1/organization/projects/proj_1/spend_limit"
    api.on(f"DELETE {path}", {"object": "project.spend_limit.deleted", "deleted": True})
    assert yard("spend", "limit", "--none", "--project", "proj_1").stdout == "no spend limit now\n"


def test_an_alert_is_added_and_all_are_listed(yard: Yard, api: ScriptedApi) -> None:
    api.on("POST /v1/organization/spend_alerts", ALERT)
    api.on("GET /v1/organization/spend_alerts", {"data": [ALERT], "has_more": False})
    assert yard("spend", "alerts", "--add", "20").stdout == "spend_alert_1\t$20.00\t-\n"
    assert api.asked[0].json() == {"threshold_amount": 2_000}


def test_what_the_month_costs_is_shown_with_its_limits(yard: Yard, api: ScriptedApi) -> None:
    figures = {"charged_micros": 23_000_000, "running_micros": 1_000_000, "resets_at": 1_790_000_000}
    api.on("GET /v1/organization/spending", figures | {"limits": [LIMIT]})
    shown = yard("spend", "show").stdout
    assert "$23.00" in shown
    assert "limit of the organization" in shown
