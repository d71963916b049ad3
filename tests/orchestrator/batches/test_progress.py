"""The run side of a batch against a real Postgres: what is written under the lease, and what is not."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlmodel import Session, select

from orchestrator import clock
from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches import finalize, progress, sharing
from orchestrator.batches.model import Batch, BatchSegment
from orchestrator.batches.progress import BatchLease, Stop
from orchestrator.batches.result_files import ResultFile
from orchestrator.batches.segments import SegmentInfo
from orchestrator.batches.service import request_cancel
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.engines.model import BatchDemand, EngineStatus
from orchestrator.errors import LeaseLost
from orchestrator.files.model import File
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job, JobKind, JobStatus
from orchestrator.jobs.retry import FailureReason
from orchestrator.metering.model import Usage
from orchestrator.metering.prices import Prices, Rate
from orchestrator.models.registry import ModelSpec
from orchestrator.storage.store import Stored
from tests.factories import make_batch, make_engine

MODEL = "yard-smoke"
RATES = {MODEL: Rate(Prices(input=1_000_000, cached_input=500_000, output=2_000_000), discount=0.5)}
SPEC = ModelSpec(
    id=MODEL,
    source="smoke",
    context_length=2048,
    endpoints=("/v1/chat/completions",),
    input_price=Decimal(1),
    cached_input_price=Decimal(1),
    output_price=Decimal(1),
)
NAMED = {MODEL: ServedModel(MODEL, SPEC)}
USED = {"lines": 2, "input_tokens": 100, "cached_tokens": 40, "output_tokens": 10}


def begun(tx: Session, **columns: object) -> BatchLease:
    """A batch whose first attempt has begun."""
    batch = make_batch(tx, **columns)
    job = jobs.enqueue(
        tx,
        kind=JobKind.BATCH,
        resource_id=batch.id,
        organization_id=batch.organization_id,
        priority=20,
        deadline=batch.expires_at,
    )
    jobs.claim(tx, limit=1)
    lease = progress.begin(tx, job_id=job.id, attempt=1, flow_run_id="run-1")
    assert lease is not None
    return lease


def running(tx: Session, *, total: int = 3, **columns: object) -> BatchLease:
    """A batch that has been validated."""
    lease = begun(tx, **columns)
    assert progress.validated(
        tx,
        lease,
        total=total,
        model=MODEL,
        errors=None,
        estimate={"expected_cost_micros": 0},
        rates=RATES,
        report=None,
    )
    return lease


def segment(sequence: int, *, completed: int = 2, failed: int = 1) -> SegmentInfo:
    return SegmentInfo(
        sequence=sequence,
        key=f"key-{sequence}",
        bytes=10,
        completed=completed,
        failed=failed,
        usage={MODEL: dict(USED)},
    )


def result(kind: str, lines: int) -> ResultFile:
    return ResultFile(
        key=f"results/{kind}", stored=Stored(size=10, sha256="0" * 64), lines=lines, keep_days=7
    )


def beat(tx: Session, lease: BatchLease, lines: int = 3) -> progress.Situation:
    return progress.heartbeat(tx, lease, remaining={MODEL: lines}, named=NAMED, weight=1.0, rate=None)


def test_an_attempt_begins_once(database: Database) -> None:
    with database.transaction() as tx:
        lease = begun(tx)
        assert progress.begin(tx, job_id=lease.job_id, attempt=1, flow_run_id="run-2") is None


def test_an_adopted_segment_grows_counts_tokens_and_cost_together(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        progress.adopt(tx, lease, segment(1))
        batch = progress.adopt(tx, lease, segment(2))
        assert (batch.request_completed, batch.request_failed) == (4, 2)
        assert batch.usage[MODEL]["input_tokens"] == 200
        assert batch.cost_micros == (120 * 1_000_000 + 80 * 500_000 + 20 * 2_000_000) // 2_000_000
        assert [row.sequence for row in progress.segments(tx, batch.id)] == [1, 2]


def test_a_segment_adopted_twice_counts_once(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        progress.adopt(tx, lease, segment(1))
    with database.transaction() as tx:  # the answer to that commit was lost
        batch = progress.adopt(tx, lease, segment(1))
        assert (batch.request_completed, batch.usage[MODEL]["input_tokens"]) == (2, 100)
        assert len(progress.segments(tx, batch.id)) == 1


def test_a_driver_that_lost_its_lease_adopts_nothing(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        tx.get_one(Job, lease.job_id).lease_expires_at = clock.now() - timedelta(seconds=1)
    with database.transaction() as tx:
        assert len(jobs.rescue(tx, limit=10)) == 1
    with pytest.raises(LeaseLost), database.transaction() as tx:
        progress.adopt(tx, lease, segment(1))
    with database.read() as tx:
        assert tx.exec(select(BatchSegment)).all() == []
        assert tx.get_one(Batch, lease.batch_id).request_completed == 0


def test_progress_clears_the_record_of_earlier_failures(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        tx.get_one(Job, lease.job_id).failures = 3
        progress.adopt(tx, lease, segment(1))
        assert tx.get_one(Job, lease.job_id).failures == 0


def test_a_heartbeat_without_an_engine_says_what_the_batch_waits_for(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        assert beat(tx, lease).waiting_for == f"a GPU for {MODEL}"
        make_engine(tx, status=EngineStatus.STARTING)
        assert beat(tx, lease).waiting_for == f"the engine for {MODEL}, which is starting"


def test_two_batches_of_equal_weight_share_an_engine(database: Database) -> None:
    with database.transaction() as tx:
        first, second = running(tx), running(tx)
        make_engine(tx, status=EngineStatus.READY, url="http://127.0.0.1:1", capacity=8)
        beat(tx, first, 100)
        beat(tx, second, 100)
        slots = [beat(tx, lease, 100).shares[MODEL][0].slots for lease in (first, second)]
        assert slots == [8, 8]  # of 8 places, filled twice over


def test_a_batch_alone_gets_the_whole_engine_back(database: Database) -> None:
    with database.transaction() as tx:
        first, second = running(tx), running(tx)
        make_engine(tx, status=EngineStatus.READY, url="http://127.0.0.1:1", capacity=8)
        beat(tx, second, 100)
        sharing.end_demand(tx, second.batch_id)
        assert beat(tx, first, 100).shares[MODEL][0].slots == 16


def test_a_model_that_the_yard_has_no_more_is_refused_and_wanted_of_no_engine(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        remaining = {"ft:gone:acme::1": 4, "ft:done:acme::1": 0, MODEL: 1}
        situation = progress.heartbeat(tx, lease, remaining=remaining, named=NAMED, weight=1.0, rate=None)
        assert situation.refused == {"ft:gone:acme::1": progress.GONE}
        assert [row.model for row in tx.exec(select(BatchDemand))] == [MODEL]


def test_an_engine_that_cannot_start_stops_the_batch_with_its_last_words(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        for _ in range(3):
            make_engine(
                tx, status=EngineStatus.FAILED, failed_at=clock.now(), last_words="ValueError: no such model"
            )
        situation = beat(tx, lease)
        assert situation.stop is Stop.ENGINE_FAILED
        assert situation.words == f"{MODEL}: ValueError: no such model"


def test_a_cancel_and_a_closed_window_stop_the_batch(database: Database) -> None:
    with database.transaction() as tx:
        cancelled = running(tx)
        request_cancel(tx, tx.get_one(Batch, cancelled.batch_id), actor="key_1")
        assert beat(tx, cancelled).stop is Stop.CANCELLED
        late = running(tx, expires_at=clock.now() - timedelta(seconds=1))
        assert beat(tx, late).stop is Stop.WINDOW_CLOSED


def test_a_finished_batch_has_its_files_its_charge_and_its_status_at_once(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        progress.adopt(tx, lease, segment(1))
        beat(tx, lease)
        assert finalize.driven(tx, lease)
        batch = finalize.finish(
            tx,
            lease,
            stop=None,
            output=result("output", 2),
            error=result("error", 1),
        )
        assert batch.status is BatchStatus.COMPLETED
        charge = tx.exec(select(Usage).where(Usage.resource_id == batch.id)).one()
        assert (charge.lines, charge.cost_micros) == (2, batch.cost_micros)
        assert tx.get_one(File, batch.output_file_id).filename == f"{batch.id}_output.jsonl"
        assert tx.get_one(Job, lease.job_id).status is JobStatus.DONE
        assert tx.exec(select(BatchDemand)).all() == []


def test_a_batch_cancelled_while_its_last_line_came_ends_cancelled(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        request_cancel(tx, tx.get_one(Batch, lease.batch_id), actor="key_1")
        assert not finalize.driven(tx, lease)
        batch = finalize.finish(
            tx,
            lease,
            stop=Stop.CANCELLED,
            output=None,
            error=result("error", 3),
        )
        assert batch.status is BatchStatus.CANCELLED
        assert batch.cost_micros == 0


def test_an_attempt_that_broke_is_made_again_until_patience_ends(database: Database) -> None:
    with database.transaction() as tx:
        lease = running(tx)
        assert progress.failed(tx, lease, FailureReason.INTERNAL)
        job = tx.get_one(Job, lease.job_id)
        assert job.status is JobStatus.QUEUED
        job.failures, job.not_before = 99, clock.now()
        tx.flush()
        jobs.claim(tx, limit=1)
        again = progress.begin(tx, job_id=job.id, attempt=2, flow_run_id="run-2")
        assert again is not None
        assert not progress.failed(tx, again, FailureReason.INTERNAL)
        batch = tx.get_one(Batch, lease.batch_id)
        assert batch.status is BatchStatus.FAILED
        assert batch.errors is not None
        assert batch.errors[0]["code"] == "server_error"
