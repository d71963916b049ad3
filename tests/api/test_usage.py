"""Usage, invoices and prices over HTTP. The ledger's rows are written here as the ends of work write them."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.metering import ledger
from orchestrator.metering.model import UsageKind
from orchestrator.organizations import projects
from orchestrator.organizations.model import Organization
from tests.api.conftest import Customer, make_customer

OCTOBER, NOVEMBER = datetime(2025, 10, 30, 12, tzinfo=UTC), datetime(2025, 11, 2, 23, 59, 59, tzinfo=UTC)
NOW = datetime(2025, 11, 3, 9, tzinfo=UTC)
PRICES = {"input": 50_000, "cached_input": 25_000, "output": 80_000, "discount": 0.5}


@pytest.fixture
def spender(customer: Customer, database: Database, monkeypatch: pytest.MonkeyPatch) -> Customer:
    """A customer with a past: a batch in October; two models and a training in November."""
    with database.transaction() as tx:
        tx.get_one(Organization, customer.organization_id).created_at = OCTOBER
        evil = projects.create(tx, organization_id=customer.organization_id, name="=cmd|'/c'!A1")
    charge(database, customer, monkeypatch, OCTOBER, lines=1, input_tokens=1_000, cost=7)
    charge(database, customer, monkeypatch, NOVEMBER, lines=2, input_tokens=300, cached_tokens=100, cost=10)
    charge(
        database,
        customer,
        monkeypatch,
        NOVEMBER,
        model="org/large",
        lines=3,
        output_tokens=50,
        cost=1_500_000,
    )
    training = {"kind": UsageKind.FINE_TUNING, "prices": {"training": 500_000}, "project_id": evil.id}
    charge(database, customer, monkeypatch, NOVEMBER, trained_tokens=4_000, cost=2_000, **training)
    monkeypatch.setattr(clock, "now", lambda: NOW)
    return customer


def charge(
    database: Database,
    of: Customer,
    monkeypatch: pytest.MonkeyPatch,
    at: datetime,
    *,
    cost: int,
    kind: UsageKind = UsageKind.BATCH,
    model: str = "yard-smoke",
    prices: dict[str, float] = PRICES,
    project_id: str | None = None,
    **used: int,
) -> None:
    with monkeypatch.context() as then, database.transaction() as tx:
        then.setattr(clock, "now", lambda: at)
        ledger.charge(
            tx,
            key=f"{of.organization_id}:{at}:{model}:{kind}",
            kind=kind,
            organization_id=of.organization_id,
            project_id=project_id or of.project_id,
            resource_id="batch_1",
            model=model,
            used=used,
            prices=prices,
            cost_micros=cost,
        )


def unix(*day: int) -> int:
    return clock.unix(datetime(*day, tzinfo=UTC))


def results(of: Customer, query: str) -> list[list[dict[str, Any]]]:
    answer = of.get(f"/v1/usage?{query}")
    assert answer.status_code == 200, answer.text
    return [bucket["results"] for bucket in answer.json()["data"]]


def test_usage_is_summed_by_day_from_the_first_of_the_month(spender: Customer, stranger: Customer) -> None:
    nothing, [second], running = results(spender, "")
    assert (nothing, running) == ([], [])
    assert (second["lines"], second["cost_micros"], second["currency"]) == (5, 1_502_010, "usd")
    assert (second["project_id"], second["model"], second["kind"]) == (None, None, None)
    assert (second["cached_share"], second["trained_tokens"]) == (round(100 / 300, 4), 4_000)
    assert results(stranger, "") == [[], [], []]


def test_usage_is_grouped_and_filtered_and_read_page_by_page(spender: Customer) -> None:
    _, grouped, _ = results(spender, "group_by=model&group_by=kind")
    assert [(part["model"], part["kind"], part["cost_micros"]) for part in grouped] == [
        ("org/large", "batch", 1_500_000),
        ("yard-smoke", "fine_tuning", 2_000),
        ("yard-smoke", "batch", 10),
    ]
    _, [projected], _ = results(spender, f"group_by=project&project_ids={spender.project_id}&kind=batch")
    assert projected["cost_micros"] == 1_500_010
    path = f"/v1/usage?start_time={unix(2025, 10, 30)}&models=yard-smoke&limit=2"
    first = spender.get(path).json()
    assert [len(bucket["results"]) for bucket in first["data"]] == [1, 0]
    assert first["has_more"] is True
    second = spender.get(f"{path}&page={first['next_page']}").json()
    assert second["data"][0]["start_time"] == first["data"][-1]["end_time"] == unix(2025, 11, 1)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("group_by=user_id", "group_by"),
        ("page=page_1", None),
        ("page=tomorrow", "page"),
        (f"start_time={unix(2025, 11, 9)}&end_time={unix(2025, 11, 9)}", "end_time"),
        ("start_time=-1", "start_time"),
    ],
)
def test_a_question_without_an_answer_is_refused(customer: Customer, query: str, param: str | None) -> None:
    answer = customer.get(f"/v1/usage?{query}&bucket_width=1m&limit=1")
    assert answer.status_code == (200 if param is None else 400)
    assert answer.json().get("error", {}).get("param") == param


def test_usage_as_csv_opens_without_harm(spender: Customer) -> None:
    path = "/v1/usage?group_by=project&group_by=model&group_by=kind&limit=2"
    asked = spender.get(path, headers={"accept": "text/csv"})
    assert asked.headers["content-type"].startswith("text/csv")
    assert asked.headers["x-next-page"] == f"page_{unix(2025, 11, 3)}"
    large, training, small = csv.DictReader(io.StringIO(asked.text))
    assert (large["start"], large["model"]) == ("2025-11-02T00:00:00Z", "org/large")
    assert (large["cost"], large["currency"], large["project"]) == ("1.500000", "usd", "default")
    assert (small["cached_share"], training["cached_share"]) == ("0.3333", "")
    assert training["project"] == "'=cmd|'/c'!A1", "no formula"
    assert spender.get(f"{path}&format=csv").text == asked.text


def test_an_invoice_has_its_lines_and_adds_up(spender: Customer, stranger: Customer) -> None:
    listed = spender.get("/v1/invoices").json()["data"]
    assert [(one["id"], one["status"], one["total_micros"]) for one in listed] == [
        ("2025-11", "draft", 1_502_010),
        ("2025-10", "final", 7),
    ]
    assert [one["id"] for one in spender.get("/v1/invoices?after=2025-11").json()["data"]] == ["2025-10"]
    invoice = spender.get("/v1/invoices/2025-11").json()
    assert sum(line["cost_micros"] for line in invoice["lines"]) == invoice["total_micros"] == 1_502_010
    assert invoice["lines"][0]["prices"] == PRICES
    for month in ("2025-12", "2025-09", "2025-1", "now"):
        assert spender.get(f"/v1/invoices/{month}").status_code == 404
    assert stranger.get("/v1/invoices/2025-11").json()["lines"] == []


def test_an_invoice_prints_and_runs_nothing(spender: Customer) -> None:
    page = spender.get("/v1/invoices/2025-11", headers={"accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for shown in ("Draft", "$1.50201", "200 input at $0.05", "100 cached input at $0.025", "less 50%"):
        assert shown in page.text
    assert "4,000 trained at $0.50" in page.text
    assert "=cmd|&#39;/c&#39;!A1" in page.text


def test_a_month_is_final_an_hour_after_its_end(
    customer: Customer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.transaction() as tx:
        tx.get_one(Organization, customer.organization_id).created_at = OCTOBER
    midnight = datetime(2025, 11, 1, tzinfo=UTC)
    for minutes, status in ((59, "draft"), (60, "final")):
        monkeypatch.setattr(clock, "now", lambda: midnight + timedelta(minutes=minutes))  # noqa: B023
        assert customer.get("/v1/invoices/2025-10").json()["status"] == status


def test_an_operator_sets_an_organizations_prices_and_they_are_what_it_sees(
    operator: Customer, customer: Customer, stranger: Customer
) -> None:
    path = f"/v1/organizations/{customer.organization_id}/prices"
    listed = {"input": 10, "cached_input": 5, "output": 20}
    changed = operator.post(path, json={"prices": {"yard-smoke": listed}}).json()
    assert changed["own"] == {"yard-smoke": listed}
    assert changed["in_force"]["yard-smoke"] == listed | {"training": 500_000}
    assert operator.get(path).json() == changed
    assert customer.get("/v1/models/yard-smoke").json()["prices"]["input"] == 10
    assert stranger.get("/v1/models/yard-smoke").json()["prices"]["input"] == 50_000
    assert customer.post(path, json={"prices": {}}).status_code == 404
    refused = operator.post(path, json={"prices": {"gpt-5": listed}})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prices")
    assert operator.post(path, json={"prices": {"tiny": listed | {"input": -1}}}).status_code == 400


def test_a_free_organization_reads_its_usage_too(http: Any, database: Database) -> None:
    free = make_customer(http, database, tier="free")
    assert free.get("/v1/usage").status_code == free.get("/v1/invoices").status_code == 200
