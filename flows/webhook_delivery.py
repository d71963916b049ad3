"""Webhooks on their way out: a loop beside the dispatcher's own, which waits for nothing of it.

Woken by NOTIFY, by the end of an attempt and when the next one is due. Claims exclude each other in the
database, so every dispatcher delivers, the one that leads and those that stand by.
"""

import asyncio
import contextlib

import structlog
from sqlalchemy.exc import OperationalError

from flows.composition import Yard
from orchestrator import clock
from orchestrator.webhooks import deliveries, sending
from orchestrator.webhooks.deliveries import Attempt, Outgoing
from orchestrator.webhooks.sending import Resolver

log = structlog.get_logger()

IN_FLIGHT_MAX = 64
LOOK_SECONDS_MIN = 0.2  # between two looks for what is due
LOOK_SECONDS_MAX = 60.0
AWAY_SECONDS = 2.0  # before the next look, where the database did not answer


async def deliver(here: Yard, woken: asyncio.Event) -> None:
    """Send what is due, for ever. `woken` is set when there may be something new."""
    resolver = Resolver(IN_FLIGHT_MAX)
    busy: dict[asyncio.Task[None], str] = {}  # each with its endpoint

    def done(task: asyncio.Task[None]) -> None:
        del busy[task]
        woken.set()

    try:
        async with asyncio.TaskGroup() as attempts:
            while True:
                woken.clear()
                endpoints = frozenset(busy.values())
                try:
                    claimed = await asyncio.to_thread(_claim, here, IN_FLIGHT_MAX - len(busy), endpoints)
                    for outgoing in claimed:
                        task = attempts.create_task(_attempt(here, outgoing, resolver))
                        busy[task] = outgoing.endpoint_id
                        task.add_done_callback(done)
                    pause = await asyncio.to_thread(_pause, here, frozenset(busy.values()))
                except OperationalError as error:
                    log.warning("database_away", error=type(error.orig).__name__)
                    pause = AWAY_SECONDS
                if len(busy) >= IN_FLIGHT_MAX:
                    pause = LOOK_SECONDS_MAX  # until one of them is done
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), pause)
    finally:
        await resolver.close()


def _claim(here: Yard, room: int, busy: frozenset[str]) -> list[Outgoing]:
    with here.database.transaction() as tx:
        return deliveries.claim(tx, limit=room, busy=busy)


def _pause(here: Yard, busy: frozenset[str]) -> float:
    """Seconds until the next delivery is due."""
    with here.database.read() as tx:
        due = deliveries.next_due(tx, busy=busy)
    if due is None:
        return LOOK_SECONDS_MAX
    return min(LOOK_SECONDS_MAX, max(LOOK_SECONDS_MIN, (due - clock.now()).total_seconds()))


async def _attempt(here: Yard, outgoing: Outgoing, resolver: Resolver) -> None:
    """One attempt and its record. Where the database is away by then, it is made again after its lease."""
    allowed = here.settings.webhook_private_addresses
    attempt = await sending.attempt(outgoing, resolver, private_allowed=allowed)
    log.info(
        "webhook_attempt",
        delivery=outgoing.delivery_id,
        endpoint=outgoing.endpoint_id,
        status_code=attempt.status_code,
        milliseconds=attempt.milliseconds,
    )
    try:
        await asyncio.to_thread(_record, here, outgoing, attempt)
    except OperationalError as error:
        log.warning("database_away", error=type(error.orig).__name__, delivery=outgoing.delivery_id)


def _record(here: Yard, outgoing: Outgoing, attempt: Attempt) -> None:
    with here.database.transaction() as tx:
        deliveries.record(tx, outgoing, attempt)
