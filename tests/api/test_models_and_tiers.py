"""What there is to use, and what each plan allows."""

import re
import tomllib

from starlette.testclient import TestClient

from api.pages.tiers import SECTIONS
from orchestrator.entitlements.tiers import Tier
from tests.api.conftest import Customer
from tests.api.yard_files import MODELS, TIERS


def test_a_tier_sees_its_models_and_no_others(customer: Customer, free_customer: Customer) -> None:
    def ids(of: Customer) -> list[str]:
        return [model["id"] for model in of.get("/v1/models").json()["data"]]

    assert ids(customer) == ["yard-smoke", "org/large", "tiny"]
    assert ids(free_customer) == ["yard-smoke"]


def test_a_model_shows_what_to_choose_it_by(customer: Customer) -> None:
    listed = customer.get("/v1/models").json()["data"][1]
    for spelled in ("org/large", "org%2Flarge"):
        assert customer.get(f"/v1/models/{spelled}").json() == listed
    assert (listed["object"], listed["owned_by"]) == ("model", "org")
    assert listed["context_window"] == 32768
    assert listed["endpoints"] == ["/v1/chat/completions"]
    assert listed["prices"] == {
        "input": 1_000_000,
        "cached_input": 500_000,
        "output": 2_000_000,
        "training": None,
        "currency": "usd",
    }


def test_a_model_of_another_tier_is_as_unknown_as_one_that_is_not_there(
    free_customer: Customer,
) -> None:
    hidden = free_customer.get("/v1/models/org%2Flarge")
    absent = free_customer.get("/v1/models/org%2Fabsent")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.text == absent.text.replace("absent", "large")
    assert hidden.json()["error"]["code"] == "model_not_found"


def test_the_tiers_are_exactly_the_file_s_and_need_no_key(http: TestClient) -> None:
    page = http.get("/v1/tiers").json()
    assert "no promise of latency" in page["sandbox"]
    shown = page["data"]
    written = tomllib.loads(TIERS)
    assert [tier["name"] for tier in shown] == list(written)
    for tier in shown:
        limits = {key: value for key, value in tier.items() if value is not None}
        assert limits == {"name": tier["name"], **written[tier["name"]]}


def test_prices_of_all_public_models_need_no_key(http: TestClient, customer: Customer) -> None:
    assert http.get("/v1/tiers").json()["models"] == customer.get("/v1/models").json()["data"]


def test_what_some_organizations_have_alone_is_in_no_public_list(
    http: TestClient, customer: Customer
) -> None:
    assert "theirs/alone" in MODELS
    assert "theirs/alone" not in customer.get("/v1/models").text
    for format in ("json", "html"):
        assert "theirs/alone" not in http.get("/v1/tiers", params={"format": format}).text


def test_a_browser_gets_the_plans_as_a_page_with_every_limit(http: TestClient) -> None:
    answer = http.get("/v1/tiers", headers={"accept": "text/html,*/*;q=0.8"})
    assert answer.headers["content-type"].startswith("text/html")
    named = {limit for limits in SECTIONS.values() for limit in limits}
    assert named | {"name", "title", "summary", "monthly_price"} == set(Tier.model_fields)
    assert all(f'id="{limit}"' in answer.text for limit in named)


def test_the_page_shows_what_each_plan_pays_for_a_model(http: TestClient) -> None:
    page = http.get("/v1/tiers?format=html").text
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in page.split("<tr") if 'row">Output' in row]
    assert rows == [["$0.00", "$0.04", "$0.04"], ["—", "$1.00", "$1.00"], ["—", "$0.04", "$0.04"]]
    trained = [re.findall(r"<td>(.*?)</td>", row) for row in page.split("<tr") if 'row">Trained' in row]
    assert trained == [["—", "—", "$0.50"], ["—", "—", "$1,000.00"]]


def test_a_page_loads_nothing_and_runs_nothing(http: TestClient) -> None:
    answer = http.get("/v1/tiers?format=html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|https?://", answer.text)


def test_the_schema_is_whole_and_says_how_to_begin(http: TestClient) -> None:
    schema = http.get("/openapi.json").json()
    names = [how["operationId"] for path in schema["paths"].values() for how in path.values()]
    assert len(names) == len(set(names)) > 20
    assert all(path.startswith(("/v1/", "/health/")) for path in schema["paths"])
    assert "client.batches.create" in schema["info"]["description"]
    upload = schema["paths"]["/v1/files"]["post"]["requestBody"]["content"]
    assert "multipart/form-data" in upload


def test_the_pages_of_the_api_need_no_other_server(http: TestClient) -> None:
    page = http.get("/docs").text
    parts = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(parts) >= 2
    assert [http.get(part).status_code for part in parts] == [200] * len(parts)
