"""Every error in OpenAI's envelope: `{"error": {"message", "type", "param", "code"}}`.

Kinds come from `orchestrator.errors` and know nothing of HTTP; `STATUS` is the only place that
gives them a number. Whatever FastAPI itself refuses (a route, a method, a body) is said in the same
envelope.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from orchestrator import errors

log = structlog.get_logger()

STATUS: Mapping[type[errors.YardError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.NotEntitled: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.QuotaExceeded: 429,
    errors.Unavailable: 503,
}

# The server is gone, or has more to do than connections: neither is the request's fault, nor ours.
DATABASE_AWAY = (OperationalError, PoolTimeout)

# What a client waits when the refusal itself does not know better.
RETRY_AFTER_SECONDS: Mapping[int, float] = {429: 60, 503: 5}

# The longest Retry-After that the official SDKs honour; with a longer one they would try at once, in vain.
WAITED_SECONDS_MAX = 60

# The official SDKs would send these again, and get the same answer.
NEVER_RETRY_STATUS = (403, 409, 413)
NEVER_RETRY_CODES = ("insufficient_quota", "not_available_for_plan", "blocked_api_access")


def install(app: FastAPI) -> None:
    """Give `app` the handlers that turn every exception a route may raise into the envelope."""
    app.add_exception_handler(errors.YardError, _on_yard_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    for away in DATABASE_AWAY:
        app.add_exception_handler(away, _on_database_away)


def envelope(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    about: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One error answer. `type` follows from the status and the code, as at OpenAI, or is what a limit
    counts."""
    error = {"message": message, "type": about or _type(status, code), "param": param, "code": code}
    return JSONResponse({"error": error}, status, headers=dict(headers or {}))


def render(error: errors.YardError) -> JSONResponse:
    """A refusal, with its status and what the SDKs need to know about trying again."""
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    headers = dict(error.headers)
    if status in RETRY_AFTER_SECONDS:
        seconds = error.retry_after_seconds or RETRY_AFTER_SECONDS[status]
        headers["retry-after"] = str(math.ceil(seconds))
    too_late = (error.retry_after_seconds or 0) > WAITED_SECONDS_MAX
    if status in NEVER_RETRY_STATUS or error.code in NEVER_RETRY_CODES or too_late:
        headers["x-should-retry"] = "false"
    return envelope(
        status, error.message, code=error.code, param=error.param, about=error.about, headers=headers
    )


def internal(request_id: str) -> JSONResponse:
    """The answer to a fault of ours: the request's id and nothing else about the inside."""
    return envelope(
        500,
        "The server had an error while processing your request. You can try again; if it stays, "
        f"tell the operator of this yard the request id {request_id}.",
        code="server_error",
    )


def _type(status: int, code: str | None) -> str:
    if code == "insufficient_quota":
        return "insufficient_quota"
    if status == 429:
        return "requests"
    return "server_error" if status >= 500 else "invalid_request_error"


async def _on_yard_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.YardError)
    return render(error)


async def _on_database_away(_request: Request, error: Exception) -> JSONResponse:
    log.warning("database_away", error=type(error).__name__)
    return render(errors.Unavailable("The yard's database cannot be reached just now. Try again."))


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    message = {
        404: f"Invalid URL ({what})",
        405: f"Not allowed to {request.method} on {request.url.path}. "
        "(HINT: Perhaps you meant to use a different HTTP method?)",
    }.get(error.status_code, str(error.detail))
    code = {404: "unknown_url", 405: "method_not_supported"}.get(error.status_code)
    return envelope(error.status_code, message, code=code, headers=error.headers)


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]  # OpenAI reports one at a time, and so do its SDKs
    param = _param(first["loc"])
    code, message = _describe(first, param)
    return envelope(400, message, code=code, param=param)


def _param(location: Sequence[Any]) -> str | None:
    """`("body", "metadata", "tags")` as the user spells it: `metadata.tags`. None: the body as a
    whole."""
    return ".".join(str(part) for part in location[1:]) or None


def _describe(error: Mapping[str, Any], param: str | None) -> tuple[str | None, str]:
    """OpenAI's code and sentence for one of pydantic's findings."""
    kind: str = error["type"]
    found = error.get("input")
    if kind == "json_invalid" or param is None:
        return None, (
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
            "using your HTTP library correctly. The API expects a JSON object.)"
        )
    if kind == "missing":
        return "missing_required_parameter", f"Missing required parameter: '{param}'."
    if kind == "extra_forbidden":
        return "unknown_parameter", f"Unknown parameter: '{param}'."
    expected = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind.endswith("_type"):
        return "invalid_type", (
            f"Invalid type for '{param}': expected {expected.removeprefix('a valid ')}, "
            f"but got {_json_type(found)} instead."
        )
    return "invalid_value", f"Invalid value for '{param}': expected {expected}."


def _json_type(value: Any) -> str:
    """How JSON names the type of a decoded value."""
    names = {type(None): "null", bool: "a boolean", int: "an integer", float: "a number"}
    names |= {str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "something else")
