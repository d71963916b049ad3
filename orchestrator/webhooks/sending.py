"""One attempt over the network: a POST to an address that webhooks may go to, and what came of it.

The address is judged where its socket is made, so the one that was judged is the one that is connected to:
however a name resolves, now or a moment later. Redirects are not followed, nothing is decompressed, no proxy
and no cookie takes part.
"""

import asyncio
import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from orchestrator import clock
from orchestrator.webhooks import addresses, schedule
from orchestrator.webhooks.deliveries import Attempt, Outgoing
from orchestrator.webhooks.signing import signed_headers

SECONDS_MAX = 15.0  # for all of an attempt: looking up, connecting, sending, the answer
ANSWER_BYTES_MAX = 64 * 1024  # read, so that the other side can finish, and thrown away
REDIRECTS = range(300, 400)

AddressInfo = tuple[Any, ...]  # as getaddrinfo gives it


class Refused(OSError):
    """Webhooks must not go to this address."""


class Resolver(AbstractResolver):
    """Looks names up in threads of its own: a slow name server holds up webhooks and nothing else."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="webhook-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of a name. Raises OSError."""
        look = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Look nothing up any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def attempt(outgoing: Outgoing, resolver: AbstractResolver, *, private_allowed: bool) -> Attempt:
    """Send it once. Whatever goes wrong is in the answer; nothing is raised for it."""
    at, started = clock.now(), time.monotonic()
    headers = signed_headers(outgoing.secrets, webhook_id=outgoing.event_id, at=at, body=outgoing.body)
    status_code: int | None = None
    error: str | None = None
    asked: timedelta | None = None
    try:
        async with (
            aiohttp.ClientSession(
                connector=_connector(resolver, private_allowed=private_allowed),
                timeout=aiohttp.ClientTimeout(total=SECONDS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            ) as session,
            session.post(
                outgoing.url,
                data=outgoing.body,
                headers=headers | {"content-type": "application/json", "user-agent": "Tokenyard-Webhooks/1"},
                allow_redirects=False,
            ) as answer,
        ):
            status_code = answer.status
            if status_code in schedule.LATER:
                asked = schedule.asked_wait(answer.headers.get("retry-after", ""), now=at)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # its status is what counts
                await _drain(answer.content)
    except TimeoutError:
        error = f"no answer within {SECONDS_MAX:.0f} seconds"
    except (aiohttp.ClientError, OSError, ValueError) as failure:
        error = _in_words(failure)
    if status_code in REDIRECTS:
        error = f"answered {status_code}, a redirect: they are not followed; give the endpoint the final URL"
    milliseconds = round((time.monotonic() - started) * 1000)
    return Attempt(at, status_code, error, milliseconds, asked_wait=asked)


def _connector(resolver: AbstractResolver, *, private_allowed: bool) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(
        resolver=resolver,
        use_dns_cache=False,
        force_close=True,
        socket_factory=None if private_allowed else _judged_socket,
    )


def _judged_socket(info: AddressInfo) -> socket.socket:
    """A socket for the address in `info`, which is connected next. Raises Refused."""
    family, kind, protocol, _, address = info
    if addresses.refusal(str(address[0])) is not None:
        raise Refused("the host's address is not a public one, and webhooks go to no others")
    return socket.socket(family, kind, protocol)


async def _drain(content: aiohttp.StreamReader) -> None:
    left = ANSWER_BYTES_MAX
    while left > 0 and (piece := await content.read(left)):
        left -= len(piece)


def _in_words(failure: Exception) -> str:
    """What the endpoint's owner can do something about, without addresses of ours."""
    match failure:
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate is not valid: {failure.certificate_error}"
        case aiohttp.ClientConnectorSSLError():
            return "TLS failed"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case aiohttp.InvalidURL():
            return "the URL cannot be used"
    match cause := getattr(failure, "os_error", failure):
        case Refused():
            return f"{cause}. {addresses.LIFTED_BY}"
        case socket.gaierror():
            return "the host's name was not found"
        case ConnectionRefusedError():
            return "the connection was refused"
        case ConnectionResetError():
            return "the connection was closed without an answer"
    return f"no connection ({type(cause).__name__})"
