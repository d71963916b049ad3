"""The run side of a fine-tuning job: what is written under the lease, what is not, and how it ends."""

import itertools

import pytest
from sqlmodel import Session, select

from orchestrator.adapters.model import Adapter, Origin
from orchestrator.database.session import Database
from orchestrator.errors import LeaseLost
from orchestrator.files.model import File, Purpose
from orchestrator.fine_tuning import checkpoints, finalize, progress, results, service
from orchestrator.fine_tuning.model import EventType, FineTuningCheckpoint, FineTuningEvent, FineTuningJob
from orchestrator.fine_tuning.progress import FineTuningLease, Stop
from orchestrator.fine_tuning.states import FineTuningStatus as S
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobKind, JobStatus
from orchestrator.jobs.retry import PATIENCE, FailureReason
from orchestrator.metering.model import Usage
from orchestrator.organizations.principal import Principal
from tests.orchestrator.fine_tuning.jobs_at import (
    a_result,
    an_enterprise,
    at_its_files,
    begin_again,
    begun,
    look,
    messages,
    metrics,
    queue_of,
    running,
    stored,
)


def lose_the_worker(tx: Session, lease: FineTuningLease) -> None:
    """The lease runs out and the job is rescued, as the dispatcher does it."""
    job = jobs.get(tx, lease.job_id)
    job.lease_expires_at = job.created_at
    tx.flush()
    (rescued,) = jobs.rescue(tx, limit=10)
    progress.rescued(tx, rescued)


# At its files.


def test_a_validated_job_waits_for_gpus_with_its_numbers(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = begun(tx, principal)
        job = look(tx, lease)
        assert (job.hyperparameters, job.lora, job.total_steps) == ({"n_epochs": 3}, {"r": 16}, 30)
        files, training = (
            queue_of(tx, job.id, kind) for kind in (JobKind.FINE_TUNE_FILES, JobKind.FINE_TUNE)
        )
        assert files.status is JobStatus.DONE
        assert (training.priority, training.deadline) == (files.priority, files.deadline)


def test_a_training_is_handed_out_by_placement_alone(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = begun(tx, principal)
        progress.put_back(tx, lease)
        tx.flush()
        assert jobs.claim(tx, limit=5) == []
        assert [job.id for job in jobs.claim(tx, limit=5, kinds=[JobKind.FINE_TUNE])] == [lease.job_id]


def test_refused_files_end_the_job_with_the_reason_and_a_report(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = at_its_files(tx, principal)
        progress.rejected(
            tx,
            lease,
            code="invalid_n_examples",
            message="Training file has 3 example(s), but must have at least 10 examples",
            param="training_file",
            report=a_result("report.jsonl"),
        )
        job = look(tx, lease)
        assert job.status is S.FAILED
        assert job.error is not None
        assert job.error["code"] == "invalid_n_examples"
        report = tx.get_one(File, job.report_file_id)
        assert (report.filename, report.purpose) == (f"{job.id}_report.jsonl", Purpose.FINE_TUNE_RESULTS)
        assert tx.exec(select(Usage)).all() == []


# Under the lease.


@pytest.mark.parametrize("verb", ["beat", "started", "record", "adopt", "stopped", "succeed"])
def test_a_stale_lease_writes_nothing(database: Database, verb: str) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        progress.adopt_checkpoint(tx, lease, stored(1))
        lose_the_worker(tx, lease)
    verbs = {
        "beat": lambda tx: progress.beat(tx, lease),
        "started": lambda tx: progress.started(tx, lease, step=9, total_steps=30),
        "record": lambda tx: progress.record(tx, lease, [metrics(9)]),
        "adopt": lambda tx: progress.adopt_checkpoint(tx, lease, stored(9)),
        "stopped": lambda tx: progress.stopped(tx, lease),
        "succeed": lambda tx: finalize.succeed(tx, lease, card={}, metrics=a_result()),
    }
    with pytest.raises(LeaseLost), database.transaction() as tx:
        verbs[verb](tx)
    with database.read() as tx:
        job = look(tx, lease)
        assert (job.status, job.trained_tokens, job.step) == (S.QUEUED, 1_000, 0)
        assert len(tx.exec(select(Adapter)).all()) == 1
        assert messages(tx, job.id)[-1].startswith("The training was interrupted (worker_lost)")


def test_a_step_trained_again_keeps_its_first_row(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        progress.record(tx, lease, [metrics(1), metrics(2, train_loss=0.5)])
        progress.record(tx, lease, [metrics(2, train_loss=0.7), metrics(3)], peak_memory_bytes=10)
        found = tx.exec(
            select(FineTuningEvent)
            .where(FineTuningEvent.type == EventType.METRICS)
            .order_by(FineTuningEvent.created_at)
        ).all()
        assert [event.message for event in found] == [
            "Step 1/30: training loss=1.0000",
            "Step 2/30: training loss=0.5000",
            "Step 3/30: training loss=0.3333",
        ]
        assert (look(tx, lease).step, look(tx, lease).peak_memory_bytes) == (3, 10)


def test_an_evaluation_that_comes_later_joins_the_row_of_its_step(database: Database) -> None:
    principal = an_enterprise(database)
    evaluated = metrics(1, valid_loss=0.27, valid_mean_token_accuracy=0.9, full=True)
    with database.transaction() as tx:
        lease = running(tx, principal)
        for found in (metrics(1), evaluated, metrics(1)):
            progress.record(tx, lease, [found])
        event = tx.exec(select(FineTuningEvent).where(FineTuningEvent.step == 1)).one()
        assert event.message == (
            "Step 1/30: training loss=1.0000, validation loss=0.2700, full validation loss=0.2700"
        )
        assert event.data is not None
        assert (event.data["full_valid_loss"], event.data["total_steps"]) == (0.27, 30)


# Checkpoints.


def test_a_checkpoint_is_a_model_a_row_an_event_and_the_tokens_to_charge(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        assert checkpoints.restart(tx, lease.fine_tuning_id) is None
        assert progress.adopt_checkpoint(tx, lease, stored(4)) == []
        job = look(tx, lease)
        assert (job.trained_tokens, job.cost_micros) == (4_000, 8_000)
        (row,) = checkpoints.newest_first(tx, job.id)
        assert tx.get_one(Adapter, row.adapter_id).origin is Origin.CHECKPOINT
        assert row.adapter_id.endswith(":ckpt-step-4")
        assert messages(tx, job.id)[-1] == f"Checkpoint created at step 4 with Snapshot ID: {row.adapter_id}"


def test_the_last_three_checkpoints_are_kept(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        to_delete = [progress.adopt_checkpoint(tx, lease, stored(step)) for step in (1, 2, 3, 4, 5)]
        assert to_delete == [[], [], [], ["state-1"], ["state-2"]]
        assert [row.step for row in checkpoints.newest_first(tx, lease.fine_tuning_id)] == [5, 4, 3]
        live = tx.exec(select(Adapter.id).where(Adapter.deleted_at.is_(None))).all()  # type: ignore[union-attr]
        assert len(live) == 3
        restart = checkpoints.restart(tx, lease.fine_tuning_id)
        assert restart is not None
        assert (restart.step, restart.state_key, restart.trained_tokens) == (5, "state-5", 5_000)


def test_a_checkpoint_that_is_adopted_again_stays_as_it_is(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        for step in (1, 2, 3, 3):
            assert progress.adopt_checkpoint(tx, lease, stored(step)) == []
        assert len(tx.exec(select(FineTuningCheckpoint)).all()) == 3


def test_a_checkpoint_whose_model_was_deleted_is_pruned_all_the_same(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        for step in (1, 2, 3):
            progress.adopt_checkpoint(tx, lease, stored(step))
        adapters = tx.exec(select(Adapter)).all()
        for adapter in adapters:
            adapter.deleted_at = adapter.created_at
        tx.flush()
        assert progress.adopt_checkpoint(tx, lease, stored(4)) == ["state-1"]


# Success.


def trained(tx: Session, principal: Principal) -> FineTuningLease:
    """A trainer that has made its last step."""
    lease = running(tx, principal)
    progress.record(tx, lease, [metrics(1), metrics(2, valid_loss=0.2, valid_mean_token_accuracy=0.9)])
    progress.adopt_checkpoint(tx, lease, stored(2, tokens=2_001))
    return lease


def test_success_is_a_model_a_file_a_charge_and_a_status_at_once(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = trained(tx, principal)
        job = finalize.succeed(tx, lease, card={"loss": 0.2}, metrics=a_result())
        assert (job.status, job.cost_micros) == (S.SUCCEEDED, 4_002)
        model = tx.get_one(Adapter, job.fine_tuned_model)
        assert (model.origin, model.digest, model.card) == (Origin.TRAINED, f"{2:064x}", {"loss": 0.2})
        file = tx.get_one(File, job.result_file_id)
        assert (file.filename, file.purpose) == (f"{job.id}_metrics.csv", Purpose.FINE_TUNE_RESULTS)
        assert tx.exec(select(Usage)).one().trained_tokens == 2_001
        assert queue_of(tx, job.id).status is JobStatus.DONE
        assert messages(tx, job.id)[-2:] == [
            f"New fine-tuned model created: {model.id}",
            "The job has successfully completed",
        ]


def test_the_metrics_are_a_csv_with_openais_columns_first(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = trained(tx, principal)
        assert list(results.metrics_csv(tx, lease.fine_tuning_id)) == [
            "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,"
            "epoch,learning_rate,grad_norm,trained_tokens\n",
            "1,1.0,0.5,,,0.5,0.001,1.0,1000\n",
            "2,0.5,0.5,0.2,0.9,0.5,0.001,1.0,2000\n",
        ]


@pytest.mark.parametrize("verb", [service.cancel, service.pause])
def test_a_stop_that_comes_after_the_last_step_changes_nothing(database: Database, verb) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = trained(tx, principal)
        verb(tx, principal, lease.fine_tuning_id)
        assert finalize.succeed(tx, lease, card={}, metrics=a_result()).status is S.SUCCEEDED
        assert len(tx.exec(select(Usage)).all()) == 1


def test_a_job_does_not_succeed_without_a_checkpoint(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx, pytest.raises(RuntimeError, match="no checkpoint"):
        finalize.succeed(tx, running(tx, principal), card={}, metrics=a_result())


# Attempts that end otherwise.


@pytest.mark.parametrize(
    ("ask", "status", "queue"),
    [
        (None, S.QUEUED, JobStatus.QUEUED),
        (service.pause, S.PAUSED, JobStatus.DONE),
        (service.cancel, S.CANCELLED, JobStatus.DONE),
    ],
)
@pytest.mark.parametrize("end", ["stopped", "put_back", "failed", "lost"])
def test_a_trainer_that_goes_leaves_job_and_queue_in_step(
    database: Database, ask, status: S, queue: JobStatus, end: str
) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        progress.adopt_checkpoint(tx, lease, stored(2))
        if ask is not None:
            ask(tx, principal, lease.fine_tuning_id)
        match end:
            case "stopped":
                assert progress.stopped(tx, lease) is status
            case "put_back":
                assert progress.put_back(tx, lease) is status
            case "failed":
                assert progress.failed(tx, lease, FailureReason.INTERNAL) is (ask is None)
            case "lost":
                lose_the_worker(tx, lease)
        assert (look(tx, lease).status, queue_of(tx, lease.fine_tuning_id).status) == (status, queue)
        assert len(tx.exec(select(Usage)).all()) == (1 if status is S.CANCELLED else 0)


@pytest.mark.parametrize("end", ["failed", "lost"])
def test_a_job_that_we_cannot_finish_fails_and_is_not_charged(database: Database, end: str) -> None:
    principal = an_enterprise(database)
    reason = {"failed": FailureReason.INTERNAL, "lost": FailureReason.WORKER_LOST}[end]
    with database.transaction() as tx:
        lease = running(tx, principal)
        progress.adopt_checkpoint(tx, lease, stored(2))
        jobs.get(tx, lease.job_id).failures = PATIENCE[reason].attempts_max - 1
        if end == "failed":
            assert not progress.failed(tx, lease, reason)
        else:
            lose_the_worker(tx, lease)
        job = look(tx, lease)
        assert (job.status, job.cost_micros) == (S.FAILED, 0)
        assert job.error is not None
        assert job.error["code"] == "server_error"
        assert tx.exec(select(Usage)).all() == []


def test_files_that_nobody_can_read_fail_the_job(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = at_its_files(tx, principal)
        for _ in itertools.repeat(None, PATIENCE[FailureReason.WORKER_LOST].attempts_max - 1):
            lose_the_worker(tx, lease)
            job = jobs.get(tx, lease.job_id)
            assert (look(tx, lease).status, job.status) == (S.VALIDATING_FILES, JobStatus.QUEUED)
            job.not_before = job.created_at
            (claimed,) = jobs.claim(tx, limit=1)
            again = progress.begin(tx, job_id=job.id, attempt=claimed.attempt, flow_run_id="run")
            assert again is not None
            lease = again
        lose_the_worker(tx, lease)
        assert look(tx, lease).status is S.FAILED


def test_a_diverged_training_fails_with_its_own_words_and_is_not_charged(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        progress.adopt_checkpoint(tx, lease, stored(2))
        progress.cannot_go_on(tx, lease, code="training_diverged", message="NaN at step 7: lower the rate.")
        job = look(tx, lease)
        assert (job.status, job.cost_micros) == (S.FAILED, 0)
        assert job.error == {
            "code": "training_diverged",
            "message": "NaN at step 7: lower the rate.",
            "param": None,
        }
        assert messages(tx, job.id)[-1] == "NaN at step 7: lower the rate."
        assert queue_of(tx, job.id).status is JobStatus.DONE


def test_a_stored_checkpoint_clears_the_record_of_earlier_failures(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        jobs.get(tx, lease.job_id).failures = 3
        progress.record(tx, lease, [metrics(1)])
        assert jobs.get(tx, lease.job_id).failures == 3
        progress.adopt_checkpoint(tx, lease, stored(1))
        assert jobs.get(tx, lease.job_id).failures == 0


@pytest.mark.parametrize("begin", [at_its_files, begun])
def test_an_operator_who_cancels_a_flow_run_ends_the_job(database: Database, begin) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = begin(tx, principal)
        assert service.request_cancel(tx, lease.fine_tuning_id, actor="prefect").status is S.CANCELLED
    with pytest.raises(LeaseLost), database.transaction() as tx:
        progress.beat(tx, lease)


def test_an_operator_who_cancels_a_training_has_its_trainer_stopped_first(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        for _ in range(2):
            service.request_cancel(tx, lease.fine_tuning_id, actor="prefect")
        assert progress.beat(tx, lease) is Stop.CANCEL
        assert progress.stopped(tx, lease) is S.CANCELLED


def test_a_rescued_training_is_begun_again_by_another(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        lose_the_worker(tx, lease)
        jobs.get(tx, lease.job_id).not_before = tx.get_one(FineTuningJob, lease.fine_tuning_id).created_at
        again = begin_again(tx, lease.fine_tuning_id)
        assert (again.attempt, progress.beat(tx, again)) == (2, None)
