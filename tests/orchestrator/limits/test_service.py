"""What is taken of rate limits, by many at once, and what is given back."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.entitlements.tiers import Tiers
from orchestrator.errors import QuotaExceeded, TooLarge
from orchestrator.limits import service as limits
from orchestrator.limits.service import Caller, Taken
from tests.factories import make_principal

TIERS = Tiers.load()
FREE = TIERS["free"]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def caller(database: Database) -> Caller:
    with database.transaction() as tx:
        principal = make_principal(tx, tier="free")
    return Caller(principal.organization_id, principal.project_id, FREE)


def take(database: Database, caller: Caller, tokens: int = 100, model: str = "m") -> Taken:
    with database.transaction() as tx:
        return limits.take(tx, caller, model, tokens=tokens, tiers=TIERS)


def test_as_many_as_allowed_get_in_however_many_come_at_once(database: Database, caller: Caller) -> None:
    def attempt(_: int) -> bool:
        try:
            take(database, caller, tokens=1)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        let_in = sum(pool.map(attempt, range(45)))
    assert 30 <= let_in <= 31  # one more for each two seconds that this takes


def test_the_very_first_requests_may_come_at_once(database: Database) -> None:
    for _ in range(5):
        with database.transaction() as tx:
            principal = make_principal(tx, tier="free")
        first = Caller(principal.organization_id, principal.project_id, FREE)
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(take, [database] * 8, [first] * 8, [1] * 8))
        with database.read() as tx:
            levels = limits.used(tx, first.organization_id, limits.ORGANIZATION, FREE)
        assert len(taken) == 8
        assert 7.9 < levels["m"]["requests_day"] <= 8


def test_a_refusal_says_what_is_used_how_long_to_wait_and_who_has_more(
    database: Database, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON)
    take(database, caller, 5_900)
    with pytest.raises(QuotaExceeded) as refused:
        take(database, caller, 400)
    assert refused.value.message == (
        f"Rate limit reached for model `m` in organization `{caller.organization_id}` service tier `free` on "
        "tokens per minute (TPM): Limit 6,000, Used 5,900, Requested 400. Please try again in 3s. "
        "Need more? The Developer tier (Pay per token) allows 60,000."
    )
    assert (refused.value.about, refused.value.retry_after_seconds) == ("tokens", 3.0)
    assert refused.value.headers["x-ratelimit-remaining-tokens"] == "100"
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(seconds=3))
    take(database, caller, 400)
    take(database, caller, 5_000, model="another")


def test_what_was_not_used_is_given_back_and_what_was_used_beyond_is_taken(
    database: Database, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON)
    for asked, really in ((5_000, 10), (100, 300)):
        taken = take(database, caller, asked)
        with database.transaction() as tx:
            limits.settle(tx, taken, tokens=really)
    with database.read() as tx:
        level = limits.used(tx, caller.organization_id, limits.ORGANIZATION, FREE)["m"]
    assert (level["tokens_minute"], level["tokens_day"], level["requests_day"]) == (310, 310, 2)


def test_more_than_a_whole_limit_is_refused_for_good(database: Database, caller: Caller) -> None:
    with pytest.raises(
        TooLarge, match="counts as 7,000 tokens, and tokens_per_minute of the Free tier is 6,000"
    ):
        take(database, caller, 7_000)


def test_a_project_s_own_limit_holds_for_it_alone(database: Database, caller: Caller) -> None:
    lower = FREE.model_copy(update={"requests_per_minute": 1})
    project = Caller(caller.organization_id, caller.project_id, FREE, lower)
    take(database, project)
    with pytest.raises(QuotaExceeded, match=f"in project `{caller.project_id}`"):
        take(database, project)
    take(database, caller)
