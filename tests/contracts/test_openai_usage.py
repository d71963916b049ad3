"""The official `openai` package's organization usage and costs, over a real socket."""

import time
from collections.abc import Iterator

import openai
import pytest

from orchestrator.metering import ledger
from orchestrator.metering.model import UsageKind
from orchestrator.organizations import authentication
from tests.contracts.conftest import ServedYard

pytestmark = pytest.mark.server

DAY = 86_400


@pytest.fixture
def client(yard: ServedYard) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(base_url=f"{yard.url}/v1", admin_api_key=yard.key, http_client=http) as client:
        yield client


@pytest.fixture
def project_id(yard: ServedYard) -> str:
    """The caller's project, which was charged for a batch, a synchronous request and a training."""
    with yard.database.transaction() as tx:
        caller = authentication.authenticate(tx, yard.key)
        for kind, used, cost in (
            (UsageKind.BATCH, {"lines": 3, "input_tokens": 90, "cached_tokens": 30, "output_tokens": 9}, 40),
            (UsageKind.SANDBOX, {"lines": 1, "input_tokens": 10, "output_tokens": 1}, 5),
            (UsageKind.FINE_TUNING, {"trained_tokens": 7_000}, 1_500_000),
        ):
            ledger.charge(
                tx,
                key=f"{caller.organization_id}:{kind}",
                kind=kind,
                organization_id=caller.organization_id,
                project_id=caller.project_id,
                resource_id="any",
                model="yard-smoke",
                used=used,
                prices={},
                cost_micros=cost,
            )
        return caller.project_id


def test_usage_is_read_by_day_and_by_what_it_is_grouped_by(client: openai.OpenAI, project_id: str) -> None:
    usage, start = client.admin.organization.usage, int(time.time()) - 2 * DAY
    page = usage.completions(
        start_time=start, group_by=["project_id", "model", "batch"], project_ids=[project_id, "proj_other"]
    )
    assert (len(page.data), page.has_more, page.next_page) == (3, False, None)
    batch, single = page.data[-1].results
    assert batch.object == single.object == "organization.usage.completions.result"
    assert (batch.batch, batch.num_model_requests, single.batch, single.num_model_requests) == (
        True,
        3,
        False,
        1,
    )
    assert (batch.input_tokens, batch.input_cached_tokens, batch.input_uncached_tokens) == (90, 30, 60)
    assert (batch.project_id, batch.model) == (project_id, "yard-smoke")
    (only,) = usage.completions(start_time=start, batch=False).data[-1].results
    assert (only.input_tokens, only.project_id) == (10, None)
    hours = usage.completions(start_time=start, bucket_width="1h", limit=30)
    assert (len(hours.data), hours.has_more) == (30, True)
    assert hours.next_page
    following = usage.completions(start_time=start, bucket_width="1h", limit=30, page=hours.next_page)
    assert following.data[0].start_time == hours.data[-1].end_time


def test_costs_are_read_by_line_item(client: openai.OpenAI, project_id: str) -> None:
    usage, start = client.admin.organization.usage, int(time.time()) - DAY
    (whole,) = usage.costs(start_time=start).data[-1].results
    assert whole.object == "organization.costs.result"
    assert whole.amount
    assert (whole.amount.value, whole.amount.currency, whole.line_item) == (1.500045, "usd", None)
    training, *_ = usage.costs(start_time=start, group_by=["line_item", "project_id"]).data[-1].results
    assert training.object == "organization.costs.result"
    assert (training.line_item, training.project_id) == ("yard-smoke, fine_tuning", project_id)
    assert (training.quantity, training.quantity_unit) == (7_000, "tokens")
    (batch,) = usage.costs(start_time=start, line_items=["yard-smoke, batch"]).data[-1].results
    assert batch.object == "organization.costs.result"
    assert batch.amount
    assert batch.amount.value == 0.00004


def test_what_the_ledger_does_not_know_is_refused(client: openai.OpenAI) -> None:
    usage = client.admin.organization.usage
    with pytest.raises(openai.BadRequestError, match="Supported values are: 'project_id', 'model', 'batch'"):
        usage.completions(start_time=0, group_by=["user_id"])
    with pytest.raises(openai.BadRequestError, match="api_key_ids"):
        usage.costs(start_time=0, api_key_ids=["key_1"])
