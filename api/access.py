"""The outermost layer: a request's id, its time, one log line, and the last word on a fault of
ours.

Plain ASGI, because streamed answers must pass through untouched. The log line has no body, no query
and no key: prompts and secrets never reach a log.
"""

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from api.trace import Trace
from orchestrator import ids

log = structlog.get_logger("api.access")

CLIENT_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
STATUS_CLIENT_GONE = 499  # nobody receives it; the log uses Nginx's number


class Access:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        headers = Headers(scope=scope)
        trace = scope["trace"] = Trace(request_id=_request_id(headers))
        body_unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        status: int | None = None

        async def receive_and_note() -> Message:
            nonlocal body_unread
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                body_unread = False
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(scope=message)
                answer["x-request-id"] = trace.request_id
                answer["openai-processing-ms"] = str(_milliseconds(started))
                if trace.principal is not None:
                    answer["x-yard-tier"] = trace.principal.tier
                if body_unread:
                    # Refused before the end of the body: hang up rather than read on for nothing.
                    answer["connection"] = "close"
            await send(message)

        try:
            await self.app(scope, receive_and_note, send_with_headers)
        except ClientDisconnect:
            status = STATUS_CLIENT_GONE
        except Exception:
            log.exception("request failed", request_id=trace.request_id, path=scope["path"])
            if status is not None:
                raise  # half an answer is out: a broken connection says that it is not whole
            await errors.internal(trace.request_id)(scope, receive, send_with_headers)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=_milliseconds(started),
                request_id=trace.request_id,
                organization_id=trace.principal and trace.principal.organization_id,
                key_id=trace.principal and trace.principal.key_id,
            )


def _request_id(headers: Headers) -> str:
    """The client's own id where it is harmless, so that its logs and ours can be joined; else a new
    one."""
    given = headers.get("x-request-id", "")
    return given if CLIENT_REQUEST_ID.fullmatch(given) else ids.new("req_")


def _milliseconds(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
