"""A batch under a spend limit: granted, waiting, stopped with the figures, retried."""

import pytest
from sqlmodel import Session, select

from orchestrator.batches import finalize, holding, progress
from orchestrator.batches.model import Batch
from orchestrator.batches.progress import Stop
from orchestrator.batches.service import request_cancel
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.errors import Invalid
from orchestrator.metering.model import Usage
from orchestrator.spending import caps
from orchestrator.spending.bill import Bill
from orchestrator.spending.model import SpendHold
from tests.factories import make_file
from tests.orchestrator.batches.test_progress import MODEL, NAMED, result, running, segment

COST = 50  # micro-dollars of one of test_progress's segments


def cap(tx: Session, organization_id: str, micros: int) -> None:
    caps.set_cap(
        tx,
        organization_id=organization_id,
        cap_micros=micros,
        running=holding.running(tx, organization_id),
        actor="key_1",
    )


def beat(tx: Session, lease: progress.BatchLease, bill: Bill) -> progress.Situation:
    return progress.heartbeat(tx, lease, remaining={MODEL: 1}, named=NAMED, weight=1.0, rate=None, bill=bill)


def test_a_batch_at_the_cap_stops_with_the_figures_and_is_charged_what_is_done(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        batch = tx.get_one(Batch, lease.batch_id)
        organization_id = batch.organization_id
        progress.adopt(tx, lease, segment(1))
        assert batch.cost_micros == COST
        cap(tx, organization_id, COST + 1)
        situation = beat(tx, lease, Bill(spent=COST, wanted=30, least=30))
        assert situation.stop is Stop.SPEND_LIMIT
        ended = finalize.finish(
            tx, lease, stop=situation.stop, words=situation.words, output=result("output", 2), error=None
        )
        assert ended.status is BatchStatus.CANCELLED
        assert ended.errors is not None
        assert ended.errors[0]["code"] == "spend_limit_reached"
        assert "$0.000051 a month: $0.00005 spent" in ended.errors[0]["message"]
        assert tx.exec(select(Usage)).one().cost_micros == COST
        assert tx.exec(select(SpendHold)).all() == []
        with pytest.raises(Invalid, match="limit is reached"):
            caps.require_open(tx, organization_id=organization_id, project_id=ended.project_id)
        cap(tx, organization_id, 10 * COST)
        caps.require_open(tx, organization_id=organization_id, project_id=ended.project_id)


def test_a_batch_waits_and_says_so_while_another_may_give_money_back(database: Database) -> None:
    with database.transaction() as tx:
        file = make_file(tx)
        cap(tx, file.organization_id, 100)
        first, second = running(tx, file=file), running(tx, file=file)
        assert beat(tx, first, Bill(wanted=100, least=10)).granted == 100
        situation = beat(tx, second, Bill(wanted=100, least=10))
        assert (situation.stop, situation.granted) == (None, 0)
        waiting_for = tx.get_one(Batch, second.batch_id).waiting_for
        assert waiting_for is not None
        assert "the $0.0001 that other running work holds of the spend limit" in waiting_for


def test_a_cap_that_is_set_during_a_run_is_heard_of_with_the_next_heartbeat(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        assert beat(tx, lease, Bill(spent=COST)).granted is None
        cap(tx, tx.get_one(Batch, lease.batch_id).organization_id, COST)
        assert beat(tx, lease, Bill(spent=COST)).granted == COST


def test_a_batch_that_is_cancelled_while_it_stops_at_a_cap_ends_all_the_same(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        request_cancel(tx, tx.get_one(Batch, lease.batch_id), actor="key_1")
        ended = finalize.finish(tx, lease, stop=Stop.SPEND_LIMIT, words="…", output=None, error=None)
        assert ended.status is BatchStatus.CANCELLED


def test_a_batch_that_is_given_up_gives_back_what_it_held(database: Database) -> None:
    with database.transaction() as tx:
        file = make_file(tx)
        cap(tx, file.organization_id, 100)
        lease = running(tx, file=file)
        assert len(tx.exec(select(SpendHold)).all()) == 1
        progress.give_up(tx, lease.batch_id, reason=None)
        assert tx.exec(select(SpendHold)).all() == []
