"""Keys, tokens, secrets and what customers write reach no log, at whatever level."""

import json
import logging
import re

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orchestrator.database.session import Database
from tests.api.conftest import Customer
from tests.api.test_webhooks import create as webhook

PROMPT = "the patient's name is Ada"


def test_no_log_has_a_key_a_token_a_secret_or_a_prompt(
    customer: Customer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    made = customer.post(f"/v1/organization/projects/{customer.project_id}/api_keys", json={"name": "n"})
    invited = customer.post("/v1/organization/invites", json={"email": "a@b.test", "role": "reader"})
    token = invited.json()["token"]
    joined = customer.http.post("/v1/organization/invites/accept", json={"token": token, "name": "A"})
    endpoint = webhook(customer)
    rotated = customer.post(f"/v1/webhook_endpoints/{endpoint['id']}/rotate_secret", json={})
    secrets = [
        customer.key,
        made.json()["key"],
        token,
        *re.findall(r"yard_sk_[\w-]+", joined.text),
        str(endpoint["signing_secret"]),
        rotated.json()["signing_secret"],
    ]
    message = {"role": "user", "content": PROMPT}
    line = {
        "custom_id": "1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"messages": [message]},
    }
    customer.upload(json.dumps(line).encode() + b"\n{")
    customer.batch_id(customer.file_id(json.dumps(line).encode()))
    customer.post("/v1/chat/completions", json={"model": "yard-smoke", "messages": [message], "n": PROMPT})
    for wrong in (f"{customer.key}x", "sk-of-somebody-else", PROMPT):
        customer.get("/v1/files", headers={"authorization": f"Bearer {wrong}"})
        secrets.append(wrong)
    assert len(secrets) == 9
    printed = capsys.readouterr()
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    logged += printed.out + printed.err
    assert "/v1/organization/invites/accept" in printed.out  # our own log is among them
    assert [secret for secret in secrets if secret in logged] == []


def test_an_error_of_the_database_does_not_repeat_what_a_customer_sent(database: Database) -> None:
    with pytest.raises(DBAPIError) as failed, database.read() as tx:
        tx.execute(text("SELECT length(:prompt) / 0"), {"prompt": PROMPT})
    assert PROMPT not in str(failed.value)
