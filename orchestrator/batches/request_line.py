"""One line of a batch file that can run. What is wrong with any other line, `diagnosis.py` says.

The body is not decoded beyond what the yard acts on; what the model makes of it is the engine's to
judge.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from orchestrator.jsonl.text import nested_too_deeply
from orchestrator.models.endpoints import Endpoint

CUSTOM_ID_CHARACTERS_MAX = 512
MODEL_CHARACTERS_MAX = 256
COUNT_MAX = 2**31 - 1
CHOICES_MAX = 128  # OpenAI's bound on `n`

Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Choices = Annotated[int, Meta(ge=1, le=CHOICES_MAX)]


class RequestBody(Struct):
    """What the yard itself needs of a body. Every other key is the engine's business."""

    model: Annotated[str, Meta(min_length=1, max_length=MODEL_CHARACTERS_MAX)]
    stream: bool | None = None
    priority: Raw | UnsetType = UNSET
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
    if body.stream or body.priority is not UNSET:
        return None
    if "\0" in request.custom_id or "\0" in body.model:  # Postgres stores no NUL
        return None
    return request
