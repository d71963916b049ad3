"""Sends a synchronous request to an engine, and what it answers to the customer. The one file that speaks to
engines from here.

A customer who hangs up ends its request in the engine, and is charged what the engine had counted by then.
Who has had nothing is charged nothing, but what was reserved of the limits stays used.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.sandbox.admission import Admitted, leave, loading, settle
from api.sandbox.events import EventTooLarge, split
from api.sandbox.request import SandboxRequest
from api.yard import Yard
from orchestrator.batches.answer_usage import read_usage
from orchestrator.errors import Unavailable

SECONDS_MAX = 120.0  # until an answer, or the next piece of one
TIMEOUT = httpx.Timeout(SECONDS_MAX, connect=5.0)
HUNG_UP_LOOK_SECONDS = 0.5
STREAM = "text/event-stream"
_OK, _NOT_FOUND = 200, 404
_PASSED_ON = (400, _NOT_FOUND, 413, 422)  # what is the request's own fault; the rest is ours


async def answer(
    yard: Yard, asked: Request, request: SandboxRequest, admitted: Admitted, slot: ExitStack
) -> Response:
    """The engine's answer in one piece, or as server-sent events as they come; these keep the `slot` to their
    end. Raises Unavailable where the engine has failed, ClientDisconnect where the customer has hung up."""
    try:
        reply = await _unless_hung_up(asked, _send(yard, request, admitted))
        if reply.headers.get("content-type", "").startswith(STREAM):
            return _Stream(yard, request, admitted, reply, slot.pop_all())
        used = read_usage(reply.content) if reply.status_code == _OK else None
    except ClientDisconnect:
        await asyncio.shield(asyncio.to_thread(leave, yard, admitted))
        raise
    except BaseException as error:
        await asyncio.shield(asyncio.to_thread(settle, yard, admitted, None))
        if isinstance(error, msgspec.DecodeError | UnicodeDecodeError):
            raise _failed(admitted, "The engine's answer was not JSON. Try again.") from None
        raise
    await asyncio.shield(asyncio.to_thread(settle, yard, admitted, used))
    return Response(reply.content, reply.status_code, dict(admitted.taken.headers), "application/json")


class _Stream(StreamingResponse):
    """Events as they come. However it ends, even before its first event, what was answered is settled."""

    def __init__(
        self,
        yard: Yard,
        request: SandboxRequest,
        admitted: Admitted,
        reply: httpx.Response,
        slot: ExitStack,
    ) -> None:
        headers = dict(admitted.taken.headers) | {"cache-control": "no-cache"}
        super().__init__(self._events(), headers=headers, media_type=STREAM)
        self._yard, self._admitted, self._reply, self._slot = yard, admitted, reply, slot
        self._tally = request.tally()
        self._failed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slot.close()
            await asyncio.shield(self._end())

    async def _events(self) -> AsyncIterator[bytes]:
        try:
            async for event in split(self._reply.aiter_bytes()):
                if (shown := self._tally.shown(event)) is not None:
                    yield shown + b"\n\n"
        except (httpx.HTTPError, EventTooLarge):
            self._failed = True
            error = {"message": "The engine ended while it answered. Try again.", "type": "server_error"}
            yield b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"

    async def _end(self) -> None:
        await self._reply.aclose()
        used = self._tally.used()
        if used is None and not self._failed:
            await asyncio.to_thread(leave, self._yard, self._admitted)
        else:
            await asyncio.to_thread(settle, self._yard, self._admitted, None if self._failed else used)


async def _send(yard: Yard, request: SandboxRequest, admitted: Admitted) -> httpx.Response:
    """The engine's reply: of a stream its beginning, else all of it. Raises Unavailable."""
    place = admitted.place
    headers: Mapping[str, str] = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "x-request-id": admitted.id,
    }
    if place.api_key is not None:
        headers = {**headers, "authorization": f"Bearer {place.api_key}"}
    content = request.for_engine(remote=place.remote)
    sent = yard.engines.build_request(
        "POST", place.url + request.endpoint, content=content, headers=headers, timeout=TIMEOUT
    )
    try:
        reply = await yard.engines.send(sent, stream=True)
        if reply.status_code == _OK and reply.headers.get("content-type", "").startswith(STREAM):
            return reply
        try:
            await reply.aread()
        finally:
            await reply.aclose()
    except httpx.ReadTimeout:
        late = f"The engine has not answered within {SECONDS_MAX:.0f} s. Ask for a stream, or send a batch."
        raise _failed(admitted, late) from None
    except httpx.HTTPError:
        raise _failed(admitted, "The engine that was to answer has just ended. Try again.") from None
    if reply.status_code == _NOT_FOUND and admitted.model.adapter is not None:
        raise loading(admitted.model)  # it has just made room for another
    if reply.status_code != _OK and reply.status_code not in _PASSED_ON:
        raise _failed(admitted, "The engine could not answer just now. Try again.")
    return reply


def _failed(admitted: Admitted, message: str) -> Unavailable:
    return Unavailable(message, headers=admitted.taken.headers)


async def _unless_hung_up(asked: Request, work: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
    """The outcome of `work`, which is given up when the customer hangs up. Raises ClientDisconnect."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=HUNG_UP_LOOK_SECONDS))[0]:
            if await asked.is_disconnected():
                raise ClientDisconnect
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, Unavailable):
                await task
