"""Webhook endpoints by the official client, over a socket, with the loop that sends beside it."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import openai
import pytest
from openai import OpenAI
from openai.types.webhooks import BatchCompletedWebhookEvent

from flows.composition import Yard
from flows.webhook_delivery import deliver
from orchestrator.webhooks.event_types import SUBSCRIBABLE, EventType
from orchestrator.webhooks.events import announce
from tests.contracts.conftest import ServedYard
from tests.flows.test_webhook_delivery import Here
from tests.receiver import Receiver, receiving

pytestmark = pytest.mark.server


@pytest.fixture
def client(yard: ServedYard) -> Iterator[OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False)
    with OpenAI(base_url=f"{yard.url}/v1", api_key=yard.key, http_client=http, max_retries=0) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _sending(yard: ServedYard, tmp_path: Path) -> Iterator[None]:
    """The part of the dispatcher that sends."""
    stop = threading.Event()
    here = cast(Yard, Here(yard.database, tmp_path))
    thread = threading.Thread(target=lambda: asyncio.run(_send(here, stop)), name="sending")
    thread.start()
    yield
    stop.set()
    thread.join()


async def _send(here: Yard, stop: threading.Event) -> None:
    """Send what is due until told to stop, looking often."""
    woken = asyncio.Event()
    sending = asyncio.create_task(deliver(here, woken))
    while not stop.is_set():
        woken.set()
        await asyncio.sleep(0.05)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


def test_an_endpoint_is_made_listed_changed_and_deleted(client: OpenAI, receiver: Receiver) -> None:
    assert client.webhooks.event_types.list().data == list(SUBSCRIBABLE)
    made = client.webhooks.create(name="hook", url=receiver.url, event_types=["batch.completed"])
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint is not None
    assert made.signing_secret.endswith(made.signing_secret_hint[-4:])
    assert [endpoint.id for endpoint in client.webhooks.list(limit=1)] == [made.id]
    changed = client.webhooks.update(made.id, name="other")
    assert client.webhooks.retrieve(made.id) == changed
    assert (changed.name, changed.event_types) == ("other", ["batch.completed"])
    deleted = client.webhooks.delete(made.id)
    assert (deleted.object, deleted.deleted) == ("webhook_endpoint.deleted", True)


def test_a_test_and_an_event_arrive_and_unwrap_by_the_old_and_the_new_secret(
    client: OpenAI, yard: ServedYard, receiver: Receiver
) -> None:
    made = client.webhooks.create(name="hook", url=receiver.url, event_types=["batch.completed"])
    rotated = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    result = client.webhooks.test(made.id, event_type="batch.completed")
    assert (result.success, result.status_code, result.event_type) == (True, 200, "batch.completed")
    with yard.database.transaction() as tx:
        organization_id = client.get("/organization", cast_to=dict[str, str])["id"]
        announce(
            tx,
            organization_id=organization_id,
            project_id=yard.project_id,
            type=EventType.BATCH_COMPLETED,
            resource_id="batch_1",
        )
    _, got = receiver.wait(2)
    for secret in (made.signing_secret, rotated.signing_secret):
        event = client.webhooks.unwrap(got.body, got.headers, secret=secret)
        assert isinstance(event, BatchCompletedWebhookEvent)
        assert event.data.id == "batch_1"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(got.body, got.headers, secret="whsec_" + "AAAA" * 8)


def test_a_test_that_nobody_answers_says_why(client: OpenAI) -> None:
    with receiving() as gone:
        url = gone.url
    made = client.webhooks.create(name="hook", url=url, event_types=["batch.completed"])
    with pytest.raises(openai.BadRequestError, match="the connection was refused") as refused:
        client.webhooks.test(made.id, event_type="batch.completed")
    assert refused.value.code == "webhook_test_failed"
