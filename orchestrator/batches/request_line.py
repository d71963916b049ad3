"""One line of a batch file that can run. What is wrong with any other line, `diagnosis.py` says.

The body is not decoded beyond what the yard acts on; what the model makes of it is the engine's to
judge.
"""

import re
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from orchestrator.models.endpoints import Endpoint

CUSTOM_ID_CHARACTERS_MAX = 512
MODEL_CHARACTERS_MAX = 256
NESTING_MAX = 100  # levels; the parsers behind us give up at 200 or more
COUNT_MAX = 2**31 - 1
CHOICES_MAX = 128  # OpenAI's bound on `n`

Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Choices = Annotated[int, Meta(ge=1, le=CHOICES_MAX)]


class RequestBody(Struct):
    """What the yard itself needs of a body. Every other key is the engine's business."""

    model: Annotated[str, Meta(min_length=1, max_length=MODEL_CHARACTERS_MAX)]
    stream: bool | None = None
    max_completion_tokens: Count | None = None
    max_tokens: Count | None = None
    max_output_tokens: Count | None = None
    n: Choices | None = None

    def output_tokens_asked(self) -> int | None:
        """The most output tokens of one choice, or None where the request leaves it open."""
        for asked in (self.max_completion_tokens, self.max_tokens, self.max_output_tokens):
            if asked is not None:
                return asked
        return None


class RequestLine(Struct):
    """The envelope of one request."""

    custom_id: Annotated[str, Meta(min_length=1, max_length=CUSTOM_ID_CHARACTERS_MAX)]
    method: Literal["POST"]
    url: Endpoint
    body: RequestBody


_DECODE = msgspec.json.Decoder(RequestLine).decode


def decode(raw: bytes) -> RequestLine | None:
    """The request in `raw`, or None where it cannot run. Never raises, whatever the bytes."""
    if nested_too_deeply(raw):
        return None
    try:
        if not raw.isascii():
            raw.decode()  # the decoder does not look at the bytes of fields it skips
        request = _DECODE(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    body = request.body
    if body.stream or "\0" in request.custom_id or "\0" in body.model:  # Postgres stores no NUL
        return None
    return request


def nested_too_deeply(raw: bytes) -> bool:
    """Whether arrays and objects are nested beyond NESTING_MAX, in linear time and without
    recursion."""
    if raw.count(b"[") + raw.count(b"{") <= NESTING_MAX:
        return False
    brackets = _STRING.sub(b"", raw).translate(None, _NOT_BRACKETS)
    depths = _STEPS[np.frombuffer(brackets, dtype=np.uint8)].cumsum(dtype=np.int64)
    return bool((depths > NESTING_MAX).any())


_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
