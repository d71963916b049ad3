"""Spends to be told of: once for each threshold and month."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlmodel import Session

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.organizations.model import Project
from orchestrator.spending import alerts, holds
from orchestrator.spending.bill import Bill
from orchestrator.spending.holds import Work
from tests.factories import make_project
from tests.orchestrator.spending.test_holds import DOLLAR, charge, work


@pytest.fixture
def project(database: Database) -> Project:
    with database.transaction() as tx:
        return make_project(tx)


def alert(tx: Session, project: Project, micros: int, *, of_project: bool = False) -> str:
    made = alerts.create(
        tx,
        organization_id=project.organization_id,
        project_id=project.id if of_project else "",
        threshold_micros=micros,
        actor="key_1",
    )
    return made.id


def told(tx: Session, project: Project) -> list[str]:
    fired = alerts.fire(tx, organization_id=project.organization_id, project_id=project.id)
    return [alert.id for alert in fired]


def charged(tx: Session, project: Project, name: str, micros: int) -> None:
    """A charge that tells nobody, so that a test can ask who would be told."""
    batch = work(project, name)
    charge(tx, Work(batch.resource_id, batch.organization_id, batch.project_id), micros)


def test_each_threshold_is_told_of_once_a_month(database, project, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: datetime(2027, 1, 30, tzinfo=UTC))
    with database.transaction() as tx:
        half = alert(tx, project, DOLLAR // 2)
        whole = alert(tx, project, DOLLAR)
        charged(tx, project, "a", DOLLAR // 2)
        assert alerts.get(tx, half, organization_id=project.organization_id).alerted_at is not None
        assert alerts.get(tx, whole, organization_id=project.organization_id).alerted_at is None
        assert told(tx, project) == []
        monkeypatch.setattr(clock, "now", lambda: datetime(2027, 2, 1, tzinfo=UTC))
        assert told(tx, project) == []  # the new month has cost nothing yet
        charged(tx, project, "b", DOLLAR)
        again = alerts.get(tx, half, organization_id=project.organization_id)
        assert again.alerted_at == datetime(2027, 2, 1, tzinfo=UTC)


def test_what_running_work_has_spent_counts_without_a_limit_too(database, project):
    with database.transaction() as tx:
        made = alert(tx, project, DOLLAR, of_project=True)
        holds.settle(tx, work(project, "a"), Bill(spent=DOLLAR - 1))
        here = {"organization_id": project.organization_id, "project_id": project.id}
        assert alerts.get(tx, made, **here).alerted_at is None
        holds.settle(tx, work(project, "a"), Bill(spent=DOLLAR))
        assert alerts.get(tx, made, **here).alerted_at is not None


def test_a_threshold_that_is_changed_is_told_of_again(database, project):
    with database.transaction() as tx:
        made = alert(tx, project, DOLLAR)
        charged(tx, project, "a", 3 * DOLLAR)
        assert told(tx, project) == []
        row = alerts.get(tx, made, organization_id=project.organization_id)
        alerts.change(tx, row, threshold_micros=2 * DOLLAR, recipients=[], subject_prefix=None, actor="k")
        assert told(tx, project) == [made]


def test_of_two_that_charge_at_once_one_tells(database, project):
    with database.transaction() as tx:
        alert(tx, project, DOLLAR)
        tx.flush()
    everyone = threading.Barrier(4)

    def end(number: int) -> int:
        with database.transaction() as tx:
            batch = work(project, str(number))
            everyone.wait()
            charge(tx, batch, DOLLAR)
        with database.transaction() as tx:
            return len(told(tx, project))

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(end, range(4))) == 0
    with database.read() as tx:
        page = alerts.list_page(tx, alerts.PageRequest(limit=10), organization_id=project.organization_id)
        assert [row.alerted_at is not None for row in page.rows] == [True]
