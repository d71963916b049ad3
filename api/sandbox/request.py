"""A synchronous request as its customer sent it, and as an engine is to have it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request

from api.sandbox.events import Tally
from orchestrator.errors import Invalid
from orchestrator.jsonl.text import nested_too_deeply

BEFORE_BATCHES = -1  # vLLM: lower is sooner, and batch lines have 0
OUTPUT_TOKENS_RESERVED = 512  # of a rate limit, where the request leaves its length open
BYTES_PER_TOKEN = 4  # a guess at a prompt's tokens, settled by the engine's count

EVERY = "continuous_usage_stats"  # vLLM's own
_COUNTS_ASKED_FOR = ("/v1/chat/completions", "/v1/completions")  # `/v1/responses` always tells them
_LENGTHS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


@dataclass(frozen=True)
class SandboxRequest:
    """`body` is the customer's, decoded; `prompt_tokens` a guess by its bytes."""

    endpoint: str
    body: Mapping[str, Any]
    model: str
    prompt_tokens: int

    def tokens_reserved(self, context_length: int) -> int:
        """What it counts against limits on tokens until the engine has counted."""
        asked = next((self.body[name] for name in _LENGTHS if type(self.body.get(name)) is int), None)
        output = OUTPUT_TOKENS_RESERVED if asked is None else max(0, min(asked, context_length))
        choices = self.body.get("n")
        return self.prompt_tokens + output * (choices if type(choices) is int and choices > 0 else 1)

    def for_engine(self, *, remote: bool) -> bytes:
        """The body to send: ahead of batch lines, and of streams with token counts, in every chunk so that
        those of one broken off are known. A server that is not ours may know neither."""
        body = dict(self.body)
        if not remote:
            body["priority"] = BEFORE_BATCHES
        if self.endpoint in _COUNTS_ASKED_FOR and body.get("stream") is True:
            counts = {"include_usage": True} if remote else {"include_usage": True, EVERY: True}
            body["stream_options"] = {**self._stream_options(), **counts}
        return msgspec.json.encode(body)

    def tally(self) -> Tally:
        """What counts the events of its stream, and drops those that were not asked for."""
        options = self._stream_options()
        wanted = self.endpoint not in _COUNTS_ASKED_FOR or options.get("include_usage") is True
        return Tally(wants_usage=wanted, wants_every_usage=wanted and options.get(EVERY) is True)

    def _stream_options(self) -> dict[str, Any]:
        options = self.body.get("stream_options")
        return options if isinstance(options, dict) else {}


async def read(request: Request, endpoint: str, *, check_size: Callable[[int], None]) -> SandboxRequest:
    """Read the body. Raises what `check_size` raises of its bytes so far, and Invalid where the yard itself
    can do nothing with it; everything else is the engine's to judge."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        check_size(len(raw))
    body = _decoded(bytes(raw))
    model = body.get("model")
    if not isinstance(model, str) or not model or "\0" in model:
        raise Invalid(
            "Missing required parameter: 'model'.", code="missing_required_parameter", param="model"
        )
    if "priority" in body:
        raise Invalid("Unknown parameter: 'priority'.", code="unknown_parameter", param="priority")
    return SandboxRequest(endpoint, body, model, prompt_tokens=len(raw) // BYTES_PER_TOKEN)


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        if nested_too_deeply(raw):
            raise Invalid("The JSON body is nested too deeply.", code=None)
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Invalid("We could not parse the JSON body of your request: expected a JSON object.") from None
