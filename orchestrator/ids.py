"""Identifiers: OpenAI's prefixes as its SDK spells them, ours for what OpenAI does not name."""

import secrets
import string
from typing import Literal

Prefix = Literal[
    "file-",
    "upload_",
    "part_",
    "batch_",
    "batch_req_",
    "job_",
    "eng_",
    "ftjob-",
    "ftevent-",
    "ftckpt_",
    "ft_",
    "org_",
    "proj_",
    "key_",
    "usage_",
    "req_",
    "lease_",
    "user-",
    "invite-",
    "audit_log-",
    "price_",
    "quote_",
    "wh_",
    "evt_",
    "delivery_",
    "spend_alert_",
]

_ALPHABET = string.ascii_lowercase + string.digits
_LENGTH = 24
_IDS = len(_ALPHABET) ** _LENGTH  # 124 bits: beyond guessing and beyond collision


def new(prefix: Prefix) -> str:
    """A fresh identifier, unguessable, for example `batch_8k2m…`."""
    # One draw for all characters: a draw for each costs ten times as much, and every line has ids.
    number = secrets.randbelow(_IDS)
    characters = []
    for _ in range(_LENGTH):
        number, character = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[character])
    return prefix + "".join(characters)
