"""The loop that sends webhooks, over a real database and to a real server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import cast

import openai
import pytest
from openai.types.webhooks import BatchCompletedWebhookEvent
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from flows import webhook_delivery
from flows.composition import Yard
from orchestrator.database.session import Database
from orchestrator.organizations.model import Project
from orchestrator.settings import Settings
from orchestrator.webhooks import deliveries
from orchestrator.webhooks.model import WebhookDelivery, WebhookEndpoint
from tests.factories import complete_batches, make_endpoint, make_project
from tests.receiver import Receiver, receiving

SECONDS_MAX = 10.0


class Here:
    """What the loop needs of a yard."""

    def __init__(self, database: Database, home: Path) -> None:
        self.database = database
        self.settings = Settings(home=home, webhook_private_addresses=True)


@pytest.fixture
async def told(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncio.Event]:
    """What wakes the loop, which runs."""
    monkeypatch.setattr(webhook_delivery, "LOOK_SECONDS_MIN", 0.02)
    woken = asyncio.Event()
    loop = asyncio.create_task(webhook_delivery.deliver(cast(Yard, Here(database, tmp_path)), woken))
    yield woken
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop


@pytest.fixture
def receivers() -> Iterator[tuple[Receiver, Receiver]]:
    with receiving() as one, receiving() as other:
        yield one, other


@pytest.fixture
def project(database: Database) -> Project:
    with database.transaction() as tx:
        return make_project(tx)


def listen(database: Database, project: Project, receiver: Receiver) -> WebhookEndpoint:
    with database.transaction() as tx:
        return make_endpoint(tx, project=project, url=receiver.url)


async def until(reached: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not await asyncio.to_thread(reached):  # raises TimeoutError: not in time
            await asyncio.sleep(0.02)
    assert reached(), what


def all_delivered(database: Database) -> bool:
    with database.read() as tx:
        rows = tx.exec(select(WebhookDelivery)).all()
        return bool(rows) and all(row.delivered_at is not None for row in rows)


async def test_what_is_announced_arrives_and_the_official_client_unwraps_it(
    database: Database, project: Project, receivers: tuple[Receiver, Receiver], told: asyncio.Event
) -> None:
    receiver, _ = receivers
    endpoint = listen(database, project, receiver)
    complete_batches(database, project, "batch_1")
    told.set()
    await until(lambda: all_delivered(database), "the delivery")
    (got,) = receiver.received
    event = openai.OpenAI(api_key="unused").webhooks.unwrap(got.body, got.headers, secret=endpoint.secret)
    assert isinstance(event, BatchCompletedWebhookEvent)
    assert (event.id, event.data.id) == (got.webhook_id, "batch_1")


async def test_a_slow_endpoint_holds_up_nobody_else(
    database: Database, project: Project, receivers: tuple[Receiver, Receiver], told: asyncio.Event
) -> None:
    slow, quick = receivers
    slow.held.set()
    listen(database, project, slow)
    complete_batches(database, project, *(f"batch_{number}" for number in range(2 * deliveries.AT_ONCE_MAX)))
    told.set()
    await until(lambda: len(slow.received) == deliveries.AT_ONCE_MAX, "all that one may have under way")
    listen(database, project, quick)
    complete_batches(database, project, "batch_last")
    told.set()
    await until(lambda: len(quick.received) == 1, "the quick one's")
    assert len(slow.received) == deliveries.AT_ONCE_MAX
    slow.held.clear()
    await until(lambda: all_delivered(database), "the slow one's, too")
    assert len({got.webhook_id for got in slow.received}) == len(slow.received)


async def test_what_was_sent_and_not_recorded_is_sent_again_under_the_same_id(
    database: Database,
    project: Project,
    receivers: tuple[Receiver, Receiver],
    told: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver, _ = receivers
    record, broken = deliveries.record, ["once"]

    def breaking(*args: object) -> None:
        if broken:
            broken.pop()
            raise OperationalError("COMMIT", {}, ConnectionError())
        record(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(deliveries, "record", breaking)
    monkeypatch.setattr(deliveries, "LEASE_SECONDS", 0.3)
    listen(database, project, receiver)
    complete_batches(database, project, "batch_1")
    told.set()
    await until(lambda: all_delivered(database), "the second attempt")
    first, second = receiver.received
    assert (first.webhook_id, first.body) == (second.webhook_id, second.body)
