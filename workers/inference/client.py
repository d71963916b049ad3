"""Posts requests to an engine as they stand, hundreds at once, and says what came of each.

Of an answer only the token counts are read: the rest belongs to whoever asked.
"""

import io
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from orchestrator.batches.answer_usage import read_usage
from orchestrator.batches.segments import LineUsage

LINE_SECONDS_MAX = 3600.0
CONNECT_SECONDS_MAX = 10.0
HEALTH_SECONDS_MAX = 5.0
ANSWER_BYTES_MAX = 256 * 2**20
BUSY_SECONDS_MAX = 60.0  # the longest Retry-After that is honoured
# Below vLLM's 5 s, so that we never write into a connection that the engine is about to close.
KEEPALIVE_SECONDS = 3.0
_STREAMED_BYTES = 2**20  # aiohttp wants larger bodies as a file
_NOT_FOUND, _TOO_MANY_REQUESTS, _BAD_GATEWAY, _UNAVAILABLE = 404, 429, 502, 503
_NOT_OURS = (401, 403)  # another engine answers at this address, and does not know our key


@dataclass(frozen=True)
class Target:
    """A live engine, and how many lines of this driver it may hold at once."""

    engine_id: str
    url: str
    api_key: str | None
    slots: int


@dataclass(frozen=True)
class Answered:
    """The engine's own answer: `body` is JSON in one line, whatever the status."""

    status: int
    body: bytes
    usage: LineUsage

    def names_no_model(self) -> bool:
        """Whether the engine says that it has no such model: an adapter that it has not, or not any more."""
        return self.status == _NOT_FOUND and _error_param(self.body) == "model"


@dataclass(frozen=True)
class EngineGone:
    """No engine there any more. `sent`: it had the request, and may have died of it."""

    sent: bool


@dataclass(frozen=True)
class TimedOut:
    """No answer within the line's time."""

    seconds: float


@dataclass(frozen=True)
class Busy:
    """The engine takes no more just now."""

    retry_after_seconds: float | None


Outcome = Answered | EngineGone | TimedOut | Busy


class EngineClient:
    """One session for any number of engines, used as `async with`.

    Cancelling a `post` closes its connection, upon which the engine drops the request.
    """

    def __init__(self, *, line_seconds_max: float = LINE_SECONDS_MAX) -> None:
        self._line_seconds_max = line_seconds_max

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # slots are the limit
                keepalive_timeout=KEEPALIVE_SECONDS,
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept"),
            headers={"Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=self._line_seconds_max, sock_connect=CONNECT_SECONDS_MAX),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def post(self, target: Target, endpoint: str, body: bytes, request_id: str) -> Outcome:
        """Send one request and wait for its end. The engine logs it as `request_id`."""
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        if target.api_key is not None:
            headers["Authorization"] = f"Bearer {target.api_key}"
        try:
            async with self._session.post(
                URL(target.url + endpoint, encoded=True),
                data=body if len(body) < _STREAMED_BYTES else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
            ) as response:
                return await self._outcome(target, response)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError):
            return EngineGone(sent=False)
        except TimeoutError:
            return TimedOut(self._line_seconds_max)
        except aiohttp.ClientError:
            return EngineGone(sent=True)

    async def healthy(self, target: Target) -> bool:
        """Whether the engine says it can still answer. One without such a check is believed."""
        timeout = aiohttp.ClientTimeout(total=HEALTH_SECONDS_MAX)
        try:
            async with self._session.get(f"{target.url}/health", timeout=timeout) as response:
                return response.status != _UNAVAILABLE
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _outcome(self, target: Target, response: aiohttp.ClientResponse) -> Outcome:
        status = response.status
        if status in _NOT_OURS:
            return EngineGone(sent=False)
        if status in (_TOO_MANY_REQUESTS, _UNAVAILABLE):
            return Busy(_seconds(response.headers.get("Retry-After")))
        if (response.content_length or 0) > ANSWER_BYTES_MAX:
            return _unreadable(status, f"more than {ANSWER_BYTES_MAX} bytes")
        body = await response.read()
        # vLLM answers 500 to all it holds when its core has died, and ends a moment later.
        if status >= 500 and not await self.healthy(target):
            return EngineGone(sent=True)
        try:
            usage = read_usage(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _unreadable(status, body[:_SHOWN_BYTES].decode(errors="replace"))
        if b"\n" in body or b"\r" in body:  # white space: inside a JSON string they are escaped
            body = body.translate(_ONE_LINE)
        return Answered(status, body, usage)


class _Error(Struct):
    param: str | None = None


class _Refusal(Struct):
    error: _Error


def _error_param(body: bytes) -> str | None:
    """Which field of the request an OpenAI error is about, None where it does not say."""
    try:
        return msgspec.json.decode(body, type=_Refusal).error.param
    except msgspec.DecodeError:
        return None


_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_SHOWN_BYTES = 500


def _unreadable(status: int, found: str) -> Answered:
    """An answer that cannot go into a result file, told in one that can."""
    error = {
        "message": f"Expected a JSON object from the engine, found: {found}",
        "type": "server_error",
        "param": None,
        "code": "invalid_engine_response",
    }
    body = msgspec.json.encode({"error": error})
    return Answered(_BAD_GATEWAY if status < 400 else status, body, LineUsage())


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After in seconds, within bounds; its other form, a date, is not read."""
    try:
        return min(max(float(retry_after or ""), 0.0), BUSY_SECONDS_MAX)
    except ValueError:
        return None


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices within half a minute that the engine's machine is gone."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return made
