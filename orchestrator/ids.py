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
    "org_",
    "proj_",
    "key_",
    "usage_",
    "req_",
    "lease_",
]

_ALPHABET = string.ascii_lowercase + string.digits
_LENGTH = 24  # 36**24: 124 bits, beyond guessing and beyond collision


def new(prefix: Prefix) -> str:
    """A fresh identifier, unguessable, for example `batch_8k2m…`."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
