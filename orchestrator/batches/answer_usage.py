"""How many tokens an engine says that an answer took, whichever endpoint gave it."""

import msgspec
from msgspec import Struct

from orchestrator.batches.segments import LineUsage


class _Details(Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(Struct):
    """Tokens under the names of `/v1/responses` (input, output) and of the other endpoints."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


_NO_DETAILS = _Details()


class Answer(Struct):
    """What is read of an answer's body."""

    usage: _Usage | None = None

    def tokens(self) -> LineUsage:
        """Its counts, 0 for those that the engine does not give."""
        if (usage := self.usage) is None:
            return LineUsage()
        inputs = usage.prompt_tokens_details or usage.input_tokens_details or _NO_DETAILS
        outputs = usage.completion_tokens_details or usage.output_tokens_details or _NO_DETAILS
        return LineUsage(
            input_tokens=usage.prompt_tokens or usage.input_tokens or 0,
            cached_tokens=inputs.cached_tokens or 0,
            output_tokens=usage.completion_tokens or usage.output_tokens or 0,
            reasoning_tokens=outputs.reasoning_tokens or 0,
        )


def read_usage(body: bytes) -> LineUsage:
    """The token counts of an answer. Raises DecodeError or UnicodeDecodeError if it is no JSON."""
    if not body.isascii():
        body.decode()  # the decoder does not look into strings that it skips
    return _decode(body).tokens()


_decode = msgspec.json.Decoder(Answer).decode
