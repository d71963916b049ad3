"""Statuses move along edges and through one door, whoever pushes and however many at once."""

from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from orchestrator import clock
from orchestrator.batches.model import Batch
from orchestrator.batches.states import BATCH, BatchStatus, BatchTrigger
from orchestrator.database.session import Database
from orchestrator.database.tables import StatusChange
from orchestrator.engines.model import ENGINE, EngineStatus, EngineTrigger
from orchestrator.state_machine import InvalidTransition, StateMachine, transition
from orchestrator.uploads.model import UPLOAD, UploadStatus, UploadTrigger
from tests.factories import make_batch, make_engine, make_upload

MACHINES: list[tuple[StateMachine[Any, Any], type[StrEnum], type[StrEnum], Any]] = [
    (BATCH, BatchStatus, BatchTrigger, make_batch),
    (UPLOAD, UploadStatus, UploadTrigger, make_upload),
    (ENGINE, EngineStatus, EngineTrigger, make_engine),
]
PAIRS = [
    pytest.param(machine, make, status, trigger, id=f"{machine.name}-{status}-{trigger}")
    for machine, statuses, triggers, make in MACHINES
    for status in statuses
    for trigger in triggers
]
EDGES = [pair for pair in PAIRS if pair.values[0].next(*pair.values[2:]) is not None]
REFUSED = [pair for pair in PAIRS if pair.values[0].next(*pair.values[2:]) is None]


@pytest.mark.parametrize(("machine", "statuses", "triggers", "_make"), MACHINES)
def test_every_status_is_reached_and_every_trigger_is_used(
    machine: StateMachine[Any, Any], statuses: type[StrEnum], triggers: type[StrEnum], _make: Any
):
    assert {machine.initial, *machine.edges.values()} == set(statuses)
    assert {trigger for _, trigger in machine.edges} == set(triggers)
    assert {status for status, _ in machine.edges} | machine.final() == set(statuses)


def test_every_edge_leads_where_the_table_says(database: Database):
    """All edges in one database: each is a row of its own."""
    for pair in EDGES:
        machine, make, status, trigger = pair.values
        with database.transaction() as tx:
            row = make(tx, status=status, **_results(machine.next(status, trigger)))
            before = clock.now()
            assert transition(tx, row, machine, trigger, actor="key_1", reason="because")
            assert row.status is machine.next(status, trigger), pair.id
            stamp = f"{row.status}_at"
            if stamp in type(row).model_fields:
                assert before <= getattr(row, stamp) <= clock.now(), pair.id
        with database.read() as tx:
            change = tx.exec(select(StatusChange).where(StatusChange.resource_id == row.id)).one()
        moved = (change.resource, change.old, change.new, change.trigger)
        assert moved == (machine.name, status, row.status, trigger)
        assert (change.actor, change.reason) == ("key_1", "because")


def test_where_there_is_no_edge_nothing_moves(database: Database):
    for pair in REFUSED:
        machine, make, status, trigger = pair.values
        with database.transaction() as tx:
            row = make(tx, status=status, **_results(status))
            with pytest.raises(InvalidTransition, match=f"no edge from '{status}' by '{trigger}'"):
                transition(tx, row, machine, trigger, actor="system")
    with database.read() as tx:
        assert tx.exec(select(StatusChange)).all() == []


def test_of_two_that_move_a_row_together_one_does_and_the_other_is_told(database: Database):
    """A customer cancels in the moment in which the driver finishes; both saw `in_progress`."""
    with database.transaction() as tx:
        batch_id = make_batch(tx, status=BatchStatus.IN_PROGRESS).id
    both_have_read = Barrier(2)

    def move(trigger: BatchTrigger) -> tuple[bool, BatchStatus]:
        with database.transaction() as tx:
            batch = tx.get_one(Batch, batch_id)
            both_have_read.wait()
            return transition(tx, batch, BATCH, trigger, actor="system"), batch.status

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(move, (BatchTrigger.CANCEL_REQUESTED, BatchTrigger.DRIVEN)))
    assert sorted(moved for moved, _ in outcomes) == [False, True]
    seen = {status for _, status in outcomes}
    assert len(seen) == 1, "the one that lost sees what the other has made of it"
    with database.read() as tx:
        assert tx.exec(select(StatusChange)).one().new == seen.pop()


def test_other_changes_of_the_row_are_kept(database: Database):
    with database.transaction() as tx:
        batch = make_batch(tx)
        batch.request_total = 7
        transition(tx, batch, BATCH, BatchTrigger.VALIDATED, actor="system")
    with database.read() as tx:
        assert tx.get_one(Batch, batch.id).request_total == 7


def test_a_move_that_is_rolled_back_leaves_no_trace(database: Database):
    with database.transaction() as tx:
        batch_id = make_batch(tx).id
    with database.read() as tx:  # never commits
        assert transition(tx, tx.get_one(Batch, batch_id), BATCH, BatchTrigger.VALIDATED, actor="system")
    with database.read() as tx:
        assert tx.get_one(Batch, batch_id).status is BatchStatus.VALIDATING
        assert tx.exec(select(StatusChange)).all() == []


def test_the_database_itself_refuses_a_completed_batch_without_results(database: Database):
    without_results = pytest.raises(IntegrityError, match="ck_batch_completed_has_results")
    with without_results, database.transaction() as tx:
        batch = make_batch(tx, status=BatchStatus.FINALIZING)
        transition(tx, batch, BATCH, BatchTrigger.MERGED, actor="system")


def _results(status: Any) -> dict[str, str]:
    return {"output_file_id": "file-1"} if status is BatchStatus.COMPLETED else {}
