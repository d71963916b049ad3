"""Eight batches that race toward one spend limit on a real engine, and go on once it is raised."""

import openai
import pytest
from openai.types import Batch

from tests.customer import chat, customer, done, errors, extra, output, submit, when
from tests.yard_process import YardProcess

pytestmark = [pytest.mark.engine, pytest.mark.prefect, pytest.mark.timeout(600)]

BATCHES, LINES = 8, 40
MICROS_PER_CENT = 10_000
USD = {"currency": "USD", "interval": "month"}


@pytest.fixture
def owner(yard: YardProcess) -> openai.OpenAI:
    """The client of an organization's owner, who shares its spend limit with nobody."""
    with customer(yard, "operator") as operator:
        made = operator.post("/organizations", body={"name": "Racers", "tier": "enterprise"}, cast_to=dict)
        path = f"/organizations/{made['id']}/api_keys"
        key = operator.post(path, body={"name": "owner", "role": "owner"}, cast_to=dict)["key"]
    return openai.OpenAI(base_url=f"{yard.api_url}/v1", api_key=key, admin_api_key=key)


def test_eight_batches_stop_at_one_cap_and_go_on_once_it_is_raised(
    owner: openai.OpenAI, yard: YardProcess
) -> None:
    limit, sent = owner.admin.organization.spend_limit, [chat(number) for number in range(LINES)]
    tried = _micros(done(owner, yard, submit(owner, sent)))
    cap = tried + BATCHES * tried // 2
    limit.update(threshold_amount=cap / MICROS_PER_CENT, **USD)  # type: ignore[arg-type]

    made = [submit(owner, sent) for _ in range(BATCHES)]
    ended = [when(owner, yard, batch, "completed", "cancelled") for batch in made]
    stopped = [batch for batch in ended if batch.status == "cancelled"]
    assert stopped
    for batch in stopped:
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert batch.errors.data[0].code == "spend_limit_reached"
        codes = {line["error"]["code"] for line in errors(owner, batch)}
        assert codes == {"spend_limit_reached"}
    charged = tried + sum(_micros(batch) for batch in ended)
    line = tried / LINES
    assert cap - 4 * line <= charged <= cap + BATCHES * line
    with pytest.raises(openai.BadRequestError) as refused:
        submit(owner, sent)
    assert refused.value.code == "blocked_api_access"

    limit.update(threshold_amount=100 * cap / MICROS_PER_CENT, **USD)  # type: ignore[arg-type]
    retries = [owner.post(f"/batches/{batch.id}/retry", cast_to=Batch) for batch in stopped]
    for batch, again in zip(stopped, retries, strict=True):
        good = [*output(owner, batch), *output(owner, done(owner, yard, again))]
        assert sorted(found["custom_id"] for found in good) == sorted(one["custom_id"] for one in sent)


def _micros(batch: Batch) -> int:
    micros: int = extra(batch, "cost")["amount_micros"]
    return micros
