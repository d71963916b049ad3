"""How many are under way at once, whoever counts."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from orchestrator import clock, ids
from orchestrator.database.session import Database
from orchestrator.errors import QuotaExceeded
from orchestrator.limits import at_once
from orchestrator.organizations.principal import Principal
from tests.factories import make_principal

LIMIT = "requests_at_once"


@pytest.fixture
def caller(database: Database) -> Principal:
    with database.transaction() as tx:
        return make_principal(tx, tier="free")


def begin(database: Database, caller: Principal, allowed: int = 3, project_allowed: int | None = None) -> str:
    id = ids.new("req_")
    with database.transaction() as tx:
        at_once.begin(
            tx,
            id,
            organization_id=caller.organization_id,
            project_id=caller.project_id,
            limit=LIMIT,
            allowed=allowed,
            project_allowed=project_allowed,
            seconds=60.0,
            more=" Need more? Ask.",
        )
    return id


def test_as_many_as_allowed_are_let_in_however_many_try(database: Database, caller: Principal) -> None:
    def attempt(_: int) -> bool:
        try:
            begin(database, caller)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(24))) == 3


def test_one_that_ends_makes_room(database: Database, caller: Principal) -> None:
    first = begin(database, caller, allowed=1)
    with pytest.raises(QuotaExceeded, match=r"\(requests_at_once\).*Limit 1, Used 1.*Need more\? Ask"):
        begin(database, caller, allowed=1)
    with database.transaction() as tx:
        at_once.end(tx, first)
    begin(database, caller, allowed=1)


def test_a_project_may_have_fewer(database: Database, caller: Principal) -> None:
    begin(database, caller, project_allowed=1)
    with pytest.raises(QuotaExceeded, match=f"project `{caller.project_id}`"):
        begin(database, caller, project_allowed=1)
    begin(database, caller)


def test_what_a_dead_process_had_is_free_again(
    database: Database, caller: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(database, caller, allowed=1)
    later = clock.now() + timedelta(seconds=61)
    monkeypatch.setattr(clock, "now", lambda: later)
    begin(database, caller, allowed=1)
    with database.transaction() as tx:
        assert at_once.forget_stale(tx) == 1
        assert at_once.count(tx, organization_id=caller.organization_id, project_id=None, limit=LIMIT) == 1
