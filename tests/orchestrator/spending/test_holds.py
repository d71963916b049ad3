"""What live work holds of a spend limit, and that nobody is granted what another has."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlmodel import Session, select

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.errors import Invalid
from orchestrator.metering import ledger
from orchestrator.metering.model import UsageKind
from orchestrator.organizations.model import Project
from orchestrator.spending import caps, holds
from orchestrator.spending.bill import Bill
from orchestrator.spending.holds import Work
from orchestrator.spending.model import SpendHold
from orchestrator.spending.standing import spending
from tests.factories import make_project

DOLLAR = 1_000_000
BATCHES = 8


@pytest.fixture
def project(database: Database) -> Project:
    with database.transaction() as tx:
        return make_project(tx)


def cap(tx: Session, project: Project, micros: int, *, of_project: bool = False, running=()) -> None:
    caps.set_cap(
        tx,
        organization_id=project.organization_id,
        project_id=project.id if of_project else "",
        cap_micros=micros,
        running=running,
        actor="key_1",
    )


def work(project: Project, name: str) -> Work:
    return Work(f"batch_{name}", project.organization_id, project.id)


def charge(tx: Session, one: Work, micros: int) -> None:
    """As the end of a batch: the ledger's row, and what it held given back."""
    ledger.charge(
        tx,
        key=one.resource_id,
        kind=UsageKind.BATCH,
        organization_id=one.organization_id,
        project_id=one.project_id,
        resource_id=one.resource_id,
        model="m",
        used={"lines": 1},
        prices={},
        cost_micros=micros,
    )
    holds.release(tx, one)


def test_without_a_limit_nothing_is_held(database, project):
    with database.transaction() as tx:
        assert holds.settle(tx, work(project, "a"), Bill(wanted=10 * DOLLAR)) == holds.UNLIMITED
        assert tx.exec(select(SpendHold)).all() == []


def test_two_batches_cannot_hold_the_same_dollar(database, project):
    a, b = work(project, "a"), work(project, "b")
    with database.transaction() as tx:
        cap(tx, project, 10 * DOLLAR)
        assert holds.settle(tx, a, Bill(wanted=7 * DOLLAR)).granted == 7 * DOLLAR
        assert holds.settle(tx, b, Bill(wanted=7 * DOLLAR)).granted == 3 * DOLLAR


def test_what_ends_gives_back_what_it_did_not_spend(database, project):
    a, b = work(project, "a"), work(project, "b")
    with database.transaction() as tx:
        cap(tx, project, 10 * DOLLAR)
        holds.settle(tx, a, Bill(wanted=10 * DOLLAR))
        charge(tx, a, 4 * DOLLAR)
        assert holds.settle(tx, b, Bill(wanted=10 * DOLLAR)).granted == 6 * DOLLAR


def test_work_waits_while_others_hold_what_they_have_not_spent(database, project):
    a, b = work(project, "a"), work(project, "b")
    with database.transaction() as tx:
        cap(tx, project, 10 * DOLLAR)
        holds.settle(tx, a, Bill(wanted=10 * DOLLAR))
        waits = holds.settle(tx, b, Bill(wanted=DOLLAR, least=DOLLAR))
        assert waits.short is not None
        assert not waits.final
        holds.settle(tx, a, Bill(spent=10 * DOLLAR))
        stops = holds.settle(tx, b, Bill(wanted=DOLLAR, least=DOLLAR))
        assert stops.final
        assert "$10.00 a month: $10.00 spent, $0.00 held" in stops.short.words()


def test_work_does_not_stop_before_what_it_has_in_flight(database, project):
    a = work(project, "a")
    with database.transaction() as tx:
        cap(tx, project, DOLLAR)
        short = holds.settle(tx, a, Bill(spent=DOLLAR // 2, pending=DOLLAR // 2, wanted=9, least=9))
        assert short.short is not None
        assert not short.final


def test_the_lower_of_an_organizations_and_a_projects_limit_holds(database, project):
    with database.transaction() as tx:
        cap(tx, project, 10 * DOLLAR)
        cap(tx, project, 2 * DOLLAR, of_project=True)
        other = make_project(tx, organization=None, name="other")
        other.organization_id = project.organization_id
        tx.flush()
        assert holds.settle(tx, work(project, "a"), Bill(wanted=5 * DOLLAR)).granted == 2 * DOLLAR
        assert holds.settle(tx, work(other, "b"), Bill(wanted=9 * DOLLAR)).granted == 8 * DOLLAR


def test_a_cap_that_is_set_during_a_run_counts_what_runs(database, project):
    a, b = work(project, "a"), work(project, "b")
    with database.transaction() as tx:
        cap(tx, project, 10 * DOLLAR, running=[(a, 4 * DOLLAR), (b, 5 * DOLLAR)])
        assert holds.settle(tx, a, Bill(spent=4 * DOLLAR, wanted=3 * DOLLAR)).granted == 5 * DOLLAR
        cap(tx, project, 3 * DOLLAR, running=[(a, 4 * DOLLAR), (b, 5 * DOLLAR)])
        assert holds.settle(tx, a, Bill(spent=4 * DOLLAR)).granted == 4 * DOLLAR


def test_a_training_is_held_whole_or_not_at_all(database, project):
    with database.transaction() as tx:
        cap(tx, project, 10 * DOLLAR)
        assert holds.hold_all(tx, work(project, "a"), 6 * DOLLAR) is None
        assert holds.hold_all(tx, work(project, "b"), 6 * DOLLAR) is not None
        assert spending(tx, project.organization_id).granted == 6 * DOLLAR


def test_new_work_is_refused_with_the_figures_once_all_is_spent(database, project):
    here = {"organization_id": project.organization_id, "project_id": project.id}
    with database.transaction() as tx:
        caps.require_open(tx, **here)
        cap(tx, project, 10 * DOLLAR)
        caps.require_open(tx, **here)
        charge(tx, work(project, "a"), 10 * DOLLAR)
        with pytest.raises(Invalid) as refused:
            caps.require_open(tx, **here)
        assert refused.value.code == "blocked_api_access"
        assert "$10.00 a month: $10.00 spent" in refused.value.message
        cap(tx, project, 11 * DOLLAR)
        caps.require_open(tx, **here)


def test_a_limit_begins_anew_on_the_first(database, project, monkeypatch):
    here = {"organization_id": project.organization_id, "project_id": project.id}
    monkeypatch.setattr(clock, "now", lambda: datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC))
    with database.transaction() as tx:
        cap(tx, project, DOLLAR)
        charge(tx, work(project, "a"), DOLLAR)
        with pytest.raises(Invalid, match="resets on 2027-02-01"):
            caps.require_open(tx, **here)
        monkeypatch.setattr(clock, "now", lambda: datetime(2027, 2, 1, tzinfo=UTC))
        caps.require_open(tx, **here)
        assert holds.settle(tx, work(project, "b"), Bill(wanted=DOLLAR)).granted == DOLLAR


def test_eight_batches_that_race_toward_one_cap_never_hold_or_cost_more(database, project):
    """Each asks, spends and ends in transactions of its own, all at once, while somebody looks."""
    micros = 500_000
    with database.transaction() as tx:
        cap(tx, project, micros)
    start, ended, seen = threading.Barrier(BATCHES + 1), threading.Event(), []

    def run(number: int) -> int:
        dice, one, spent, granted = random.Random(number), work(project, str(number)), 0, 0
        start.wait()
        while True:
            spent = min(granted, spent + dice.randint(0, 40_000))
            bill = Bill(spent, 0, wanted=dice.randint(1_000, 60_000), least=1_000)
            with database.transaction() as tx:
                allowance = holds.settle(tx, one, bill)
            assert allowance.granted is not None
            granted = allowance.granted
            if allowance.final:
                with database.transaction() as tx:
                    charge(tx, one, spent)
                return spent

    def look() -> None:
        start.wait()
        while not ended.is_set():
            with database.read() as tx:
                now = spending(tx, project.organization_id)
            seen.append(now.charged + now.granted)

    with ThreadPoolExecutor(BATCHES + 1) as threads:
        looking = threads.submit(look)
        spent = list(threads.map(run, range(BATCHES)))
        ended.set()
        looking.result()
    assert max(seen) <= micros
    assert micros - 1_000 < sum(spent) <= micros
    with database.read() as tx:
        assert spending(tx, project.organization_id).spent == sum(spent)
        assert tx.exec(select(SpendHold)).all() == []
