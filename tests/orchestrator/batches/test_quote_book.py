"""Quotes are kept, settled with what came, and learnt from."""

from datetime import timedelta

import pytest
from sqlmodel import Session

from orchestrator import clock
from orchestrator.batches import quote_book
from orchestrator.batches.model import Batch
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.engines.model import Engine, EngineStatus
from orchestrator.files.model import File
from orchestrator.metering.pace import Done
from tests.factories import make_batch

QUOTED = {"prompt_tokens": 1_000, "expected_cost_micros": 900, "finish_p50_seconds": 15.0}
USED = {"m": {"input_tokens": 1_000, "cached_tokens": 0, "output_tokens": 500, "lines": 10}}


def quoted_batch(tx: Session, *, seconds: float = 20.0) -> Batch:
    """A batch that was quoted and validated so many seconds ago, and whose last line has come just now."""
    now = clock.now()
    batch = make_batch(
        tx,
        status=BatchStatus.FINALIZING,
        in_progress_at=now - timedelta(seconds=seconds),
        finalizing_at=now,
        usage=USED,
        cost_micros=1_000,
        model="m",
    )
    record = quote_book.keep(
        tx,
        QUOTED,
        file=tx.get_one(File, batch.input_file_id),
        project_id=batch.project_id,
        model="m",
        batch_id=batch.id,
    )
    record.created_at = now - timedelta(seconds=seconds)
    tx.flush()
    return batch


def test_a_settled_quote_says_how_far_off_it_was_and_teaches_the_next(database: Database) -> None:
    with database.transaction() as tx:
        batch = quoted_batch(tx)
        now = clock.now()
        tx.add(
            Engine(
                id="eng_1",
                model="m",
                status=EngineStatus.READY,
                capacity=1,
                gpus=1,
                created_at=now,
                needed_at=now,
                heartbeat_at=now,
                ready_at=now - timedelta(seconds=15),
            )
        )
        quote_book.settle(tx, batch)
        (record,) = quote_book.settled(tx, organization_id=batch.organization_id)
        assert quote_book.off(record) == (pytest.approx(0.1), pytest.approx(0.25, abs=0.01))
        off = quote_book.offness([record])
        assert (off.quotes, off.cost_median, off.finish_p90) == (
            1,
            pytest.approx(0.1),
            pytest.approx(0.25, abs=0.01),
        )
        assert quote_book.done(tx, "m") == [Done(1_500, pytest.approx(15.0, abs=0.1))]


def test_a_batch_has_one_quote_however_often_it_is_validated(database: Database) -> None:
    with database.transaction() as tx:
        batch = quoted_batch(tx)
        file = tx.get_one(File, batch.input_file_id)
        again = quote_book.keep(tx, {}, file=file, project_id=batch.project_id, model="m", batch_id=batch.id)
        assert again.quoted == QUOTED


def test_without_a_settled_quote_nothing_is_known(database: Database) -> None:
    with database.transaction() as tx:
        batch = quoted_batch(tx)
        assert quote_book.done(tx, "m") == []
        nothing = quote_book.offness(quote_book.settled(tx, organization_id=batch.organization_id))
        assert (nothing.quotes, nothing.cost_median) == (0, None)
