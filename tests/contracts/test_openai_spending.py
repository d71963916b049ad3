"""Spend limits and alerts through OpenAI's client, over a socket."""

import io
import json
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from orchestrator.metering import ledger
from orchestrator.metering.model import UsageKind
from orchestrator.organizations import authentication, keys
from orchestrator.organizations.model import Role
from orchestrator.organizations.principal import Principal
from tests.contracts.conftest import ServedYard

pytestmark = pytest.mark.server

USD = {"currency": "USD", "interval": "month"}
MAIL = {"type": "email", "recipients": ["money@acme.test"], "subject_prefix": "[yard]"}
LINE = {
    "custom_id": "1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "yard-smoke", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4},
}


@pytest.fixture
def client(yard: ServedYard) -> Iterator[OpenAI]:
    with _client(yard, yard.key) as client:
        yield client


@pytest.fixture
def principal(yard: ServedYard) -> Principal:
    with yard.database.transaction() as tx:
        return authentication.authenticate(tx, yard.key)


def _client(yard: ServedYard, key: str) -> OpenAI:
    http = openai.DefaultHttpxClient(trust_env=False)
    return OpenAI(base_url=f"{yard.url}/v1", api_key=key, admin_api_key=key, http_client=http)


def spend(yard: ServedYard, who: Principal, micros: int) -> None:
    with yard.database.transaction() as tx:
        ledger.charge(
            tx,
            key=f"{who.project_id}:{micros}",
            kind=UsageKind.BATCH,
            organization_id=who.organization_id,
            project_id=who.project_id,
            resource_id="batch_1",
            model="yard-smoke",
            used={"lines": 1},
            prices={},
            cost_micros=micros,
        )


def test_an_organizations_limit_is_set_shown_changed_and_removed(client, yard, principal):
    limit = client.admin.organization.spend_limit
    with pytest.raises(openai.NotFoundError, match="No spend limit is set"):
        limit.retrieve()
    made = limit.update(threshold_amount=2_000, **USD)
    assert (made.object, made.threshold_amount) == ("organization.spend_limit", 2_000)
    assert (made.currency, made.interval, made.enforcement.status) == ("USD", "month", "inactive")
    spend(yard, principal, 20_000_000)
    shown = limit.retrieve()
    assert shown.enforcement.status == "enforcing"
    assert (shown.spent_micros, shown.open_micros) == (20_000_000, 0)
    assert limit.update(threshold_amount=2_001, **USD).enforcement.status == "inactive"
    gone = limit.delete()
    assert (gone.object, gone.deleted) == ("organization.spend_limit.deleted", True)
    with pytest.raises(openai.NotFoundError):
        limit.delete()


def test_at_the_cap_new_work_is_refused_with_the_figures_until_it_is_raised(client, yard, principal):
    project = client.admin.organization.projects.spend_limit
    project.update(principal.project_id, threshold_amount=1, **USD)
    spend(yard, principal, 10_000)
    file = client.files.create(file=("in.jsonl", io.BytesIO(json.dumps(LINE).encode())), purpose="batch")
    batch = {
        "input_file_id": file.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(**batch)
    assert refused.value.code == "blocked_api_access"
    assert refused.value.response.headers["x-should-retry"] == "false"
    told = refused.value.body["message"]
    assert f"project {principal.project_id} is $0.01 a month: $0.01 spent, $0.00 held" in told
    assert f"/v1/organization/projects/{principal.project_id}/spend_limit" in told
    project.update(principal.project_id, threshold_amount=2, **USD)
    assert client.batches.create(**batch).status == "validating"


def test_alerts_are_made_listed_changed_and_deleted(client, principal):
    alerts = client.admin.organization.spend_alerts
    made = [alerts.create(threshold_amount=n, notification_channel=MAIL, **USD) for n in (500, 900)]
    assert made[0].object == "organization.spend_alert"
    assert made[0].notification_channel.recipients == ["money@acme.test"]
    assert [a.threshold_amount for a in alerts.list(order="asc", limit=1)] == [500, 900]
    assert alerts.retrieve(made[1].id).threshold_amount == 900
    changed = alerts.update(made[1].id, threshold_amount=950, notification_channel=MAIL, **USD)
    assert changed.threshold_amount == 950
    assert alerts.delete(made[0].id).object == "organization.spend_alert.deleted"
    assert [a.id for a in alerts.list()] == [made[1].id]
    of_project = client.admin.organization.projects.spend_alerts
    own = of_project.create(principal.project_id, threshold_amount=100, notification_channel=MAIL, **USD)
    assert own.object == "project.spend_alert"
    assert [a.id for a in of_project.list(principal.project_id)] == [own.id]
    with pytest.raises(openai.NotFoundError):
        alerts.retrieve(own.id)


def test_only_an_owner_decides_and_only_about_its_own_organization(client, yard, enterprise_yard, principal):
    with yard.database.transaction() as tx:
        _, key = keys.create(tx, project_id=principal.project_id, name="dev", role=Role.DEVELOPER)
        stranger = authentication.authenticate(tx, enterprise_yard.key)
    client.admin.organization.spend_limit.update(threshold_amount=100, **USD)
    with _client(yard, key) as developer:
        assert developer.admin.organization.spend_limit.retrieve().threshold_amount == 100
        with pytest.raises(openai.PermissionDeniedError):
            developer.admin.organization.spend_limit.update(threshold_amount=200, **USD)
    with pytest.raises(openai.NotFoundError):
        client.admin.organization.projects.spend_limit.update(stranger.project_id, threshold_amount=1, **USD)


def test_a_limit_may_be_finer_than_a_cent(client):
    made = client.admin.organization.spend_limit.update(threshold_amount=0.125, **USD)
    assert (made.threshold_amount, made.threshold_micros) == (0.125, 1_250)
    for wrong in (-1, "100"):
        with pytest.raises(openai.BadRequestError):
            client.post("/organization/spend_limit", body={"threshold_amount": wrong}, cast_to=object)
