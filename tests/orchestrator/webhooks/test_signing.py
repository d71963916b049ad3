"""What we sign, OpenAI's client unwraps."""

from datetime import timedelta

import openai
import pytest
from openai.types.webhooks import BatchCompletedWebhookEvent

from orchestrator import clock
from orchestrator.webhooks.events import body_of
from orchestrator.webhooks.model import WebhookEvent
from orchestrator.webhooks.signing import new_secret, signed_headers

CLIENT = openai.OpenAI(api_key="unused")
BODY = body_of(
    WebhookEvent(
        id="evt_1",
        organization_id="org_1",
        key="k",
        type="batch.completed",
        data={"id": "batch_1"},
        created_at=clock.now(),
    )
)


def test_the_official_client_unwraps_what_is_signed() -> None:
    secret = new_secret()
    headers = signed_headers([secret], webhook_id="evt_1", at=clock.now(), body=BODY)
    event = CLIENT.webhooks.unwrap(BODY, headers, secret=secret)
    assert isinstance(event, BatchCompletedWebhookEvent)
    assert (event.id, event.object, event.data.id) == ("evt_1", "event", "batch_1")


def test_while_two_secrets_sign_either_verifies_and_no_other() -> None:
    old, new = new_secret(), new_secret()
    headers = signed_headers([new, old], webhook_id="evt_1", at=clock.now(), body=BODY)
    for secret in (old, new):
        CLIENT.webhooks.verify_signature(BODY, headers, secret=secret)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        CLIENT.webhooks.unwrap(BODY, headers, secret=new_secret())


@pytest.mark.parametrize("changed", ["body", "id", "timestamp"])
def test_nothing_that_is_signed_can_be_changed(changed: str) -> None:
    secret = new_secret()
    headers = signed_headers([secret], webhook_id="evt_1", at=clock.now(), body=BODY)
    earlier = str(clock.unix(clock.now()) - 60)
    other = {"id": {"webhook-id": "evt_2"}, "timestamp": {"webhook-timestamp": earlier}}
    body = BODY.replace(b"batch_1", b"batch_2") if changed == "body" else BODY
    with pytest.raises(openai.InvalidWebhookSignatureError):
        CLIENT.webhooks.unwrap(body, headers | other.get(changed, {}), secret=secret)


def test_what_was_recorded_long_ago_cannot_be_sent_again() -> None:
    secret = new_secret()
    headers = signed_headers([secret], webhook_id="e", at=clock.now() - timedelta(minutes=6), body=BODY)
    with pytest.raises(openai.InvalidWebhookSignatureError, match="too old"):
        CLIENT.webhooks.unwrap(BODY, headers, secret=secret)
