"""Signatures by the Standard Webhooks specification, which OpenAI's clients verify: HMAC-SHA256 over
`<webhook-id>.<timestamp>.<body>`."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

from orchestrator import clock

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """A fresh secret as its owner sees it: `whsec_` and base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(secrets: Sequence[str], *, webhook_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """What says to a receiver who sends this, and that it is sent now: receivers refuse what is older than
    five minutes. One signature for each secret, of which the receiver knows one."""
    timestamp = str(clock.unix(at))
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    signatures = (f"v1,{_signature(secret, signed)}" for secret in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
