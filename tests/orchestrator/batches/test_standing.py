"""What an organization has under way and has used today."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session

from orchestrator.batches.standing import standing
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.files.model import File
from tests.factories import make_batch, make_file

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
YESTERDAY = NOON - timedelta(days=1)


def a_file(tx: Session, **columns: Any) -> File:
    """Ten lines of 40 bytes, so ten tokens each: six for one model and four for another."""
    summary = {"lines": 10, "bad_lines": 0, "first_problems": [], "models": {"a": 6, "b": 4}, "endpoints": {}}
    return make_file(tx, bytes=400, summary=summary, **columns)


def test_an_organization_without_batches_has_nothing_under_way(database: Database) -> None:
    with database.read() as tx:
        found = standing(tx, organization_id=a_file(tx).organization_id, now=NOON)
    assert (found.live_batches, found.lines_today, dict(found.queued_tokens)) == (0, 0, {})


def test_a_batch_not_yet_validated_counts_with_the_lines_of_its_upload(database: Database) -> None:
    with database.read() as tx:
        file = a_file(tx)
        make_batch(tx, file=file, created_at=NOON)
        found = standing(tx, organization_id=file.organization_id, now=NOON)
    assert (found.live_batches, found.lines_today) == (1, 10)
    assert found.queued_tokens == {"a": 60, "b": 40}


def test_lines_with_a_result_are_not_queued_any_more(database: Database) -> None:
    with database.read() as tx:
        file = a_file(tx)
        done = {"request_total": 10, "request_completed": 4, "request_failed": 1}
        make_batch(tx, file=file, created_at=YESTERDAY, status=BatchStatus.IN_PROGRESS, **done)
        found = standing(tx, organization_id=file.organization_id, now=NOON)
    assert (found.live_batches, found.lines_today) == (1, 0)
    assert found.queued_tokens == {"a": 30, "b": 20}


@pytest.mark.parametrize(("status", "total", "lines"), [("cancelled", 10, 10), ("failed", 0, 0)])
def test_an_ended_batch_of_today_counts_with_the_lines_it_ran(
    database: Database, status: str, total: int, lines: int
) -> None:
    with database.read() as tx:
        file = a_file(tx)
        make_batch(tx, file=file, created_at=NOON, status=BatchStatus(status), request_total=total)
        found = standing(tx, organization_id=file.organization_id, now=NOON)
    assert (found.live_batches, found.lines_today, dict(found.queued_tokens)) == (0, lines, {"a": 0, "b": 0})


def test_batches_of_one_file_and_of_several_add_up_but_not_those_of_others(database: Database) -> None:
    with database.read() as tx:
        file = a_file(tx)
        other = a_file(tx, organization_id=file.organization_id, project_id=file.project_id)
        for of in (file, file, other, a_file(tx)):
            make_batch(tx, file=of, created_at=NOON)
        found = standing(tx, organization_id=file.organization_id, now=NOON)
    assert (found.live_batches, found.lines_today) == (3, 30)
    assert found.queued_tokens == {"a": 180, "b": 120}


def test_a_file_that_nobody_looked_into_has_no_lines(database: Database) -> None:
    with database.read() as tx:
        file = make_file(tx, summary=None)
        make_batch(tx, file=file, created_at=NOON)
        found = standing(tx, organization_id=file.organization_id, now=NOON)
    assert (found.live_batches, found.lines_today) == (1, 0)
