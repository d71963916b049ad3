from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi

ENDPOINTS = "/v1/webhook_endpoints"
ENDPOINT = {
    "id": "wh_1",
    "name": "hook",
    "url": "https://hooks.example.com/",
    "event_types": ["batch.completed"],
    "enabled": True,
    "failing_since": None,
    "disabled_at": None,
    "disabled_reason": None,
    "old_secret_active_until": None,
}
DELIVERY = {
    "id": "delivery_1",
    "status": "pending",
    "event": {"type": "batch.completed", "resource_id": "batch_1"},
    "attempts": [{"status_code": 500, "error": None, "milliseconds": 12}],
    "created_at": 1_790_000_000,
    "next_attempt_at": 1_790_000_300,
}


def test_a_new_endpoint_hears_of_everything_and_its_secret_is_printed_once(
    yard: Yard, api: ScriptedApi
) -> None:
    api.on("GET /v1/webhook_event_types", {"data": ["batch.completed", "batch.failed"]})
    api.on(f"POST {ENDPOINTS}", ENDPOINT | {"signing_secret": "whsec_abc"})
    shown = yard("webhook", "create", "https://hooks.example.com/").stdout
    assert api.asked[-1].json()["event_types"] == ["batch.completed", "batch.failed"]
    assert 'OpenAI(webhook_secret="whsec_abc").webhooks.unwrap(body, headers)' in shown


def test_an_endpoint_that_was_disabled_says_why_and_is_enabled(yard: Yard, api: ScriptedApi) -> None:
    disabled = {"enabled": False, "disabled_at": 1_790_000_000, "disabled_reason": "It answered 410 Gone."}
    api.on(f"GET {ENDPOINTS}/wh_1", ENDPOINT | disabled)
    assert "It answered 410 Gone." in yard("webhook", "show", "wh_1").stdout
    api.on(f"POST {ENDPOINTS}/wh_1", ENDPOINT)
    assert "enabled" in yard("webhook", "update", "wh_1", "--enable").stdout
    assert api.asked[-1].json() == {"enabled": True}


def test_a_test_that_is_not_answered_with_a_2xx_fails_the_command(yard: Yard, api: ScriptedApi) -> None:
    failed = {
        "status": "failed",
        "attempts": [{"status_code": 302, "error": "a redirect", "milliseconds": 9}],
    }
    api.on(f"POST {ENDPOINTS}/wh_1/test", {"status_code": 302, "delivery": failed})
    result = yard("webhook", "test", "wh_1")
    assert (result.exit_code, result.stdout) == (1, "answered 302 in 9 ms\na redirect\n")


def test_the_log_is_a_line_for_each_delivery_and_one_is_sent_again(yard: Yard, api: ScriptedApi) -> None:
    api.on(f"POST {ENDPOINTS}/wh_1/deliveries/delivery_1/retry", DELIVERY)
    api.on(f"GET {ENDPOINTS}/wh_1/deliveries", {"data": [DELIVERY], "has_more": False})
    shown = yard("webhook", "log", "wh_1", "--retry", "delivery_1").stdout
    assert shown.split("\t")[2:7] == ["batch.completed", "batch_1", "pending", "1", "500"]
    assert len(api.asked) == 2


def test_a_secret_is_rotated_for_a_day_or_at_once(yard: Yard, api: ScriptedApi) -> None:
    api.on(f"POST {ENDPOINTS}/wh_1/rotate_secret", ENDPOINT | {"signing_secret": "whsec_new"})
    assert "whsec_new" in yard("webhook", "rotate", "wh_1", "--at-once").stdout
    assert api.asked[0].json() == {"keep_old_secret_active_for_24_hours": False}
