"""Notifications reach a listener when they are committed, also after the connection was lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import psycopg
import pytest

from orchestrator.database import listen as module
from orchestrator.database.listen import listen
from orchestrator.database.session import Database, notify

DEADLINE_SECONDS = 20


async def hear(heard: AsyncIterator[str]) -> str:
    return await asyncio.wait_for(anext(heard), DEADLINE_SECONDS)


def say(database: Database, channel: str) -> None:
    with database.transaction() as tx:
        notify(tx, channel)


async def test_what_is_committed_is_heard_and_what_is_rolled_back_is_not(database: Database):
    async with aclosing(listen(database.url, ["jobs", "engines"])) as heard:
        assert [await hear(heard), await hear(heard)] == ["jobs", "engines"]  # it has connected
        with database.read() as tx:  # never commits
            notify(tx, "jobs")
        await asyncio.to_thread(say, database, "engines")
        assert await hear(heard) == "engines"


async def test_a_lost_connection_is_made_again_and_says_to_look(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """The server ends the session, as it does when it restarts."""
    monkeypatch.setattr(module, "RECONNECT_SECONDS", 0.0)
    async with aclosing(listen(database.url, ["jobs"])) as heard:
        assert await hear(heard) == "jobs"
        await asyncio.to_thread(_end_other_sessions, database.url)
        assert await hear(heard) == "jobs"
        await asyncio.to_thread(say, database, "jobs")
        assert await hear(heard) == "jobs"


def _end_other_sessions(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
