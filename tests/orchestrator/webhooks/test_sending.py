"""One attempt over a real socket: what arrives, what is refused, and what becomes of it."""

import socket
import time
from datetime import timedelta

import openai
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from orchestrator import clock
from orchestrator.webhooks import addresses, sending, signing
from orchestrator.webhooks.deliveries import Attempt, Outgoing
from tests.receiver import Receiver, receiving

SECRET = signing.new_secret()


class Names(AbstractResolver):
    """Every name has the first of these addresses, when asked again the next one, and so on."""

    def __init__(self, *found: str) -> None:
        self.found = list(found)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        address = self.found[min(self.asked, len(self.found) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        pass


async def send(url: str, *, private_allowed: bool = True, names: AbstractResolver | None = None) -> Attempt:
    outgoing = Outgoing("delivery_1", "wh_1", "evt_1", url, (SECRET,), b'{"id":"evt_1"}', clock.now())
    resolver = names or sending.Resolver(1)
    try:
        return await sending.attempt(outgoing, resolver, private_allowed=private_allowed)
    finally:
        await resolver.close()


def named(receiver: Receiver) -> str:
    """The receiver's address by a name."""
    return receiver.url.replace("127.0.0.1", "hooks.example.com")


async def test_a_post_arrives_signed_and_with_the_hosts_own_name(receiver: Receiver) -> None:
    attempt = await send(named(receiver), names=Names("127.0.0.1"))
    assert (attempt.status_code, attempt.error, attempt.arrived) == (200, None, True)
    (got,) = receiver.received
    assert got.headers["host"].startswith("hooks.example.com:")
    assert got.headers["content-type"] == "application/json"
    openai.OpenAI(api_key="unused").webhooks.verify_signature(got.body, got.headers, secret=SECRET)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "hooks.example.com"])
async def test_an_address_that_is_not_public_is_never_connected_to(receiver: Receiver, host: str) -> None:
    names = Names("127.0.0.1") if host == "hooks.example.com" else None
    url = receiver.url.replace("127.0.0.1", host)
    attempt = await send(url, private_allowed=False, names=names)
    assert attempt.status_code is None
    assert attempt.error == (
        "the host's address is not a public one, and webhooks go to no others. The operator of the yard can "
        "allow others with the setting YARD_WEBHOOK_PRIVATE_ADDRESSES=true."
    )
    assert receiver.received == []


async def test_a_name_whose_answer_changes_is_judged_by_the_answer_that_is_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = "127.0.0.1"
    monkeypatch.setattr(addresses, "refusal", lambda address: None if address == public else "loopback")
    names = Names(public, "127.0.0.2", public)
    first = await send(named(receiver), private_allowed=False, names=names)
    second = await send(named(receiver), private_allowed=False, names=names)
    assert (first.arrived, second.arrived, names.asked) == (True, False, 2)  # asked once for each attempt
    assert len(receiver.received) == 1


async def test_a_redirect_is_a_failure_and_leads_nowhere(receiver: Receiver) -> None:
    with receiving() as inside:
        receiver.statuses, receiver.location = [307], inside.url
        attempt = await send(receiver.url)
        assert (attempt.status_code, attempt.arrived) == (307, False)
        assert attempt.error is not None
        assert "redirect" in attempt.error
        assert inside.received == []


@pytest.mark.parametrize(("status", "heard"), [(429, True), (503, True), (500, False), (200, False)])
async def test_a_receiver_that_is_busy_says_when_to_come_again(
    receiver: Receiver, status: int, heard: bool
) -> None:
    receiver.statuses, receiver.retry_after = [status], "600"
    attempt = await send(receiver.url)
    assert attempt.asked_wait == (timedelta(minutes=10) if heard else None)


async def test_an_answer_without_end_is_not_read_to_its_end(receiver: Receiver) -> None:
    receiver.ceaseless = True
    started = time.monotonic()
    assert (await send(receiver.url)).arrived
    assert time.monotonic() - started < 5.0


async def test_a_server_that_does_not_answer_has_its_time(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SECONDS_MAX", 0.2)
    receiver.held.set()
    attempt = await send(receiver.url)
    assert (attempt.status_code, attempt.error) == (None, "no answer within 0 seconds")
    assert 150 <= attempt.milliseconds < 5_000


async def test_a_server_that_speaks_no_tls_is_a_failure_in_words(receiver: Receiver) -> None:
    assert (await send(receiver.url.replace("http:", "https:"))).error == "TLS failed"


async def test_a_server_that_is_not_there_is_a_failure_in_words() -> None:
    with receiving() as gone:
        url = gone.url
    assert (await send(url)).error == "the connection was refused"
