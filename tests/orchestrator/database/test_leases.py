"""One leader at a time, whoever asks and whenever."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from orchestrator import clock
from orchestrator.database import leases
from orchestrator.database.session import Database

SECONDS = 10


def acquire(database: Database, token: str) -> bool:
    with database.transaction() as tx:
        return leases.acquire(tx, "dispatcher", token, SECONDS)


def release(database: Database, token: str) -> None:
    with database.transaction() as tx:
        leases.release(tx, "dispatcher", token)


def test_the_leader_stays_the_leader_while_it_renews(database: Database):
    assert acquire(database, "one")
    assert not acquire(database, "two")
    assert acquire(database, "one")
    assert not acquire(database, "two")


def test_of_contenders_that_ask_together_one_leads(database: Database):
    contenders = 4
    ready = Barrier(contenders)

    def contend(number: int) -> bool:
        ready.wait()
        return acquire(database, f"contender {number}")

    with ThreadPoolExecutor(contenders) as pool:
        assert sorted(pool.map(contend, range(contenders))) == [False, False, False, True]


def test_a_role_given_up_is_free_at_once(database: Database):
    acquire(database, "one")
    release(database, "one")
    assert acquire(database, "two")


def test_nobody_gives_up_a_role_of_another(database: Database):
    acquire(database, "one")
    release(database, "two")
    assert not acquire(database, "two")


def test_a_dead_leader_is_followed_once_its_lease_has_run_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    acquire(database, "one")
    later = clock.now() + timedelta(seconds=SECONDS + 1)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert acquire(database, "two")
    assert not acquire(database, "one")


def test_roles_do_not_exclude_each_other(database: Database):
    acquire(database, "one")
    with database.transaction() as tx:
        assert leases.acquire(tx, "sweeper", "two", SECONDS)
