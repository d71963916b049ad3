"""Sends a synchronous request to an engine, and what it answers to the customer. The one file that speaks to
engines from here."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from api.sandbox.admission import Admitted, settle
from api.sandbox.request import SandboxRequest
from api.yard import Yard
from orchestrator.batches.answer_usage import Answer, read_usage
from orchestrator.batches.segments import LineUsage
from orchestrator.errors import Unavailable

TIMEOUT = httpx.Timeout(120.0, connect=5.0)
HUNG_UP_LOOK_SECONDS = 0.5
_OK = 200
_PASSED_ON = (400, 404, 413, 422)  # what is the request's own fault; the rest is ours
_DATA, _DONE = "data: ", "[DONE]"

_usage_of = msgspec.json.Decoder(Answer).decode


@dataclass
class _Count:
    """What the engine has counted so far."""

    used: LineUsage = field(default_factory=LineUsage)


async def whole(yard: Yard, asked: Request, request: SandboxRequest, admitted: Admitted) -> Response:
    """The engine's answer in one piece. A customer who hangs up ends the request in the engine too."""
    used, answered = LineUsage(), False
    try:
        reply = await _unless_hung_up(asked, _post(yard, request, admitted))
        _require_ours(reply)
        if reply.status_code == _OK:
            used, answered = read_usage(reply.content), True
        return Response(reply.content, reply.status_code, dict(admitted.taken.headers), "application/json")
    finally:
        await asyncio.shield(asyncio.to_thread(settle, yard, admitted, used, answered=answered))


async def stream(yard: Yard, request: SandboxRequest, admitted: Admitted, slot: ExitStack) -> Response:
    """The engine's answer as server-sent events, chunk by chunk as they come. Holds the `slot` to its end."""
    try:
        reply = await _post(yard, request, admitted, stream=True)
        _require_ours(reply)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(settle, yard, admitted, LineUsage(), answered=False))
        raise
    if reply.status_code != _OK:
        content = await reply.aread()
        await reply.aclose()
        await asyncio.to_thread(settle, yard, admitted, LineUsage(), answered=False)
        return Response(content, reply.status_code, dict(admitted.taken.headers), "application/json")
    return StreamingResponse(
        _events(yard, request, admitted, reply, slot.pop_all()),
        headers=dict(admitted.taken.headers) | {"cache-control": "no-cache"},
        media_type="text/event-stream",
    )


async def _events(
    yard: Yard, request: SandboxRequest, admitted: Admitted, reply: httpx.Response, slot: ExitStack
) -> AsyncIterator[str]:
    """Chunks without what the customer did not ask for. However it ends, what was counted is charged: who
    hangs up has had those tokens."""
    count = _Count()
    try:
        async for line in reply.aiter_lines():
            if line.startswith(_DATA) and (shown := _shown(line.removeprefix(_DATA), request, count)):
                yield f"{_DATA}{shown}\n\n"
    except httpx.HTTPError:
        error = {"message": "The engine ended while it answered.", "type": "server_error"}
        yield f"{_DATA}{msgspec.json.encode({'error': error}).decode()}\n\n"
    finally:
        slot.close()
        await asyncio.shield(_ended(yard, admitted, reply, count))


async def _ended(yard: Yard, admitted: Admitted, reply: httpx.Response, count: _Count) -> None:
    await reply.aclose()
    await asyncio.to_thread(settle, yard, admitted, count.used, answered=True)


def _shown(data: str, request: SandboxRequest, count: _Count) -> str | None:
    """A chunk as the customer is to have it; None for one of counts that was not asked for."""
    if data == _DONE:
        return data
    chunk: dict[str, Any] = msgspec.json.decode(data)
    if chunk.get("usage"):
        count.used = _usage_of(data).tokens()
    if chunk.get("choices"):
        chunk.pop("usage", None)
    elif not request.wants_usage and "usage" in chunk:
        return None
    return msgspec.json.encode(chunk).decode()


async def _post(
    yard: Yard, request: SandboxRequest, admitted: Admitted, *, stream: bool = False
) -> httpx.Response:
    place = admitted.place
    headers: Mapping[str, str] = {"content-type": "application/json", "x-request-id": admitted.id}
    if place.api_key is not None:
        headers = {**headers, "authorization": f"Bearer {place.api_key}"}
    sent = yard.engines.build_request(
        "POST",
        place.url + request.endpoint,
        content=request.for_engine(remote=place.remote),
        headers=headers,
        timeout=TIMEOUT,
    )
    try:
        return await yard.engines.send(sent, stream=stream)
    except httpx.HTTPError:
        raise Unavailable("The engine that was to answer has just ended. Try again.") from None


def _require_ours(reply: httpx.Response) -> None:
    if reply.status_code != _OK and reply.status_code not in _PASSED_ON:
        raise Unavailable("The engine could not answer just now. Try again.")


async def _unless_hung_up(asked: Request, work: Any) -> httpx.Response:
    """The outcome of `work`, which is given up when the customer hangs up. Raises ClientDisconnect."""
    task: asyncio.Task[httpx.Response] = asyncio.ensure_future(work)
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=HUNG_UP_LOOK_SECONDS)
            if done:
                return task.result()
            if await asked.is_disconnected():
                raise ClientDisconnect
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
