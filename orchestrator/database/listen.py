"""Being woken by Postgres: what `session.notify` says is heard here once it is committed."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import psycopg
import structlog
from psycopg import sql

RECONNECT_SECONDS = 1.0
CONNECT_SECONDS_MAX = 5
# A server that vanished without a word is noticed within half a minute.
KEEPALIVE_IDLE_SECONDS = 10
KEEPALIVE_INTERVAL_SECONDS = 5
KEEPALIVE_PROBES_MAX = 4

log = structlog.get_logger()


async def listen(url: str, channels: Sequence[str]) -> AsyncIterator[str]:
    """Yield a channel's name for each notification on it, for ever, over any number of connections.

    Every channel is yielded once for each new connection, the first included: what was said while
    nobody listened is lost, so look. `url` is a libpq address.
    """
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(
                url,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS_MAX,
                keepalives_idle=KEEPALIVE_IDLE_SECONDS,
                keepalives_interval=KEEPALIVE_INTERVAL_SECONDS,
                keepalives_count=KEEPALIVE_PROBES_MAX,
            )
            async with connection:
                for channel in channels:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                for channel in channels:
                    yield channel
                async for heard in connection.notifies():
                    yield heard.channel
        except psycopg.OperationalError as error:
            log.warning("database_away", error=type(error).__name__, channels=list(channels))
        await asyncio.sleep(RECONNECT_SECONDS)
