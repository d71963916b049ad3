"""What a customer does with fine-tuning jobs, on a real Postgres."""

import pytest
from sqlmodel import select

from orchestrator.database.pages import Order, PageRequest
from orchestrator.database.session import Database
from orchestrator.errors import Conflict, Invalid, LeaseLost, NotFound
from orchestrator.files.model import File
from orchestrator.fine_tuning import events, progress, service
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.progress import Stop
from orchestrator.fine_tuning.states import FineTuningStatus as S
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import JobKind, JobStatus
from orchestrator.metering.model import Usage
from tests.orchestrator.fine_tuning.jobs_at import (
    an_enterprise,
    at_its_files,
    begin_again,
    begun,
    create,
    dataset,
    look,
    messages,
    metrics,
    queue_of,
    queued,
    running,
    stored,
)


def test_a_new_job_is_validating_says_so_and_waits_in_the_queue(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        job = create(tx, principal, suffix="topics", metadata={"team": "a"})
        assert (job.status, job.base_model, job.price_micros) == (S.VALIDATING_FILES, "yard-smoke", 2_000_000)
        assert messages(tx, job.id) == [
            f"Created fine-tuning job: {job.id}",
            f"Validating training file: {job.training_file_id}",
        ]
        (claimed,) = jobs.claim(tx, limit=5)
        assert (claimed.kind, claimed.resource_id) == (JobKind.FINE_TUNE_FILES, job.id)


def test_a_seed_is_kept_or_made(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        assert create(tx, principal, seed=0).seed == 0
        first, second = create(tx, principal), create(tx, principal)
        assert first.seed != second.seed


def test_the_same_idempotency_key_makes_one_job(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        file_id = dataset(tx, principal)
        first = create(tx, principal, training_file=file_id, idempotency_key="k")
        assert create(tx, principal, training_file=file_id, idempotency_key="k").id == first.id
        with pytest.raises(Conflict, match="other parameters"):
            create(tx, principal, training_file=file_id, seed=3, idempotency_key="k")


def test_another_organizations_job_is_an_unknown_job(database: Database) -> None:
    principal, other = an_enterprise(database), an_enterprise(database)
    with database.transaction() as tx:
        job_id = create(tx, other).id
        for verb in (service.cancel, service.pause, service.resume):
            with pytest.raises(NotFound):
                verb(tx, principal, job_id)
        assert service.list_page(tx, PageRequest(20), organization_id=principal.organization_id).rows == []


def test_jobs_are_found_by_their_metadata_and_by_having_none(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        mine = create(tx, principal, metadata={"team": "a", "run": "1"})
        create(tx, principal, metadata={"team": "b"})
        bare = create(tx, principal)

        def found(**filters: object) -> list[str]:
            request = PageRequest(20)
            page = service.list_page(tx, request, organization_id=principal.organization_id, **filters)
            return [job.id for job in page.rows]

        assert found(metadata={"team": "a"}) == [mine.id]
        assert found(without_metadata=True) == [bare.id]
        assert len(found()) == 3


def test_events_come_page_by_page_in_the_order_of_writing(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        job = create(tx, principal)
        for number in range(5):
            events.say(tx, job, f"message {number}")
        other = create(tx, principal)
        first = service.list_events(tx, PageRequest(3), job_id=job.id)
        assert [event.message for event in first.rows] == ["message 4", "message 3", "message 2"]
        assert first.has_more
        rest = service.list_events(tx, PageRequest(9, after=first.rows[-1].id), job_id=job.id)
        assert [event.message for event in rest.rows][:2] == ["message 1", "message 0"]
        onwards = service.list_events(tx, PageRequest(9, first.rows[1].id, Order.ASC), job_id=job.id)
        assert [event.message for event in onwards.rows] == ["message 4"]
        with pytest.raises(Invalid, match="to continue after"):
            service.list_events(tx, PageRequest(3, after=first.rows[0].id), job_id=other.id)


# Cancel.


def test_a_job_whose_files_are_read_is_cancelled_at_once(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = at_its_files(tx, principal)
        assert service.cancel(tx, principal, lease.fine_tuning_id).status is S.CANCELLED
    with pytest.raises(LeaseLost), database.transaction() as tx:
        progress.beat(tx, lease)


def test_a_queued_job_is_cancelled_at_once_and_never_claimed(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        job_id = queued(tx, principal)
        assert service.cancel(tx, principal, job_id).status is S.CANCELLED
        assert jobs.claim_these(tx, [queue_of(tx, job_id).id]) == []
        assert service.cancel(tx, principal, job_id).status is S.CANCELLED
        assert tx.exec(select(Usage)).all() == []


def test_a_job_without_a_trainer_yet_is_cancelled_at_once(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = begun(tx, principal)
        assert service.cancel(tx, principal, lease.fine_tuning_id).status is S.CANCELLED
    with pytest.raises(LeaseLost), database.transaction() as tx:
        progress.started(tx, lease, step=0, total_steps=30)


def test_a_running_job_is_cancelled_by_its_trainer(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        assert progress.beat(tx, lease) is None
        assert service.cancel(tx, principal, lease.fine_tuning_id).status is S.CANCELLING
        assert progress.beat(tx, lease) is Stop.CANCEL
        progress.adopt_checkpoint(tx, lease, stored(5))
        assert progress.stopped(tx, lease) is S.CANCELLED
        assert queue_of(tx, lease.fine_tuning_id).status is JobStatus.DONE


def test_an_ended_job_cannot_be_cancelled_paused_or_resumed(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = at_its_files(tx, principal)
        progress.rejected(tx, lease, code="c", message="m", param=None, report=None)
        for verb in (service.cancel, service.pause, service.resume):
            with pytest.raises(Conflict, match="with status 'failed'"):
                verb(tx, principal, lease.fine_tuning_id)


# Pause and resume.


def test_a_job_cannot_be_paused_while_its_files_are_read(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx, pytest.raises(Conflict, match="Cannot pause"):
        service.pause(tx, principal, create(tx, principal).id)


def test_a_queued_job_is_paused_at_once_and_resumed_into_the_queue(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        job_id = queued(tx, principal)
        assert service.pause(tx, principal, job_id).status is S.PAUSED
        assert service.pause(tx, principal, job_id).status is S.PAUSED
        assert jobs.claim_these(tx, [queue_of(tx, job_id).id]) == []
        assert service.resume(tx, principal, job_id).status is S.QUEUED
        assert service.resume(tx, principal, job_id).status is S.QUEUED
        assert len(jobs.claim_these(tx, [queue_of(tx, job_id).id])) == 1


def test_a_paused_training_goes_on_in_a_new_attempt(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        progress.record(tx, lease, [metrics(1), metrics(2)], steps_per_second=2.0)
        assert service.pause(tx, principal, lease.fine_tuning_id).status is S.PAUSING
        assert progress.beat(tx, lease) is Stop.PAUSE
        progress.adopt_checkpoint(tx, lease, stored(2))
        assert progress.stopped(tx, lease) is S.PAUSED
        service.resume(tx, principal, lease.fine_tuning_id)
        again = begin_again(tx, lease.fine_tuning_id)
        progress.started(tx, again, step=2, total_steps=30)
        assert (again.attempt, look(tx, again).status, look(tx, again).step) == (2, S.RUNNING, 2)
        assert messages(tx, lease.fine_tuning_id)[-3:] == [
            "The job has been paused",
            "The job has been resumed",
            "Fine-tuning job goes on after step 2",
        ]


def test_a_pausing_job_can_be_cancelled(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        service.pause(tx, principal, lease.fine_tuning_id)
        assert service.cancel(tx, principal, lease.fine_tuning_id).status is S.CANCELLING
        assert progress.stopped(tx, lease) is S.CANCELLED


def test_a_paused_and_then_cancelled_job_is_charged_once_for_what_is_stored(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        progress.adopt_checkpoint(tx, lease, stored(3, tokens=4_567))
        service.pause(tx, principal, lease.fine_tuning_id)
        progress.stopped(tx, lease)
        assert tx.exec(select(Usage)).all() == []
    for _ in range(2):
        with database.transaction() as tx:
            job = service.cancel(tx, principal, lease.fine_tuning_id)
    with database.read() as tx:
        charge = tx.exec(select(Usage)).one()
        assert (charge.idempotency_key, charge.trained_tokens) == (job.id, 4_567)
        assert charge.cost_micros == job.cost_micros == 4_567 * 2


# Files.


def test_a_dataset_of_a_live_job_cannot_be_deleted(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        job = create(tx, principal, validation_file=dataset(tx, principal))
        for file_id in (job.training_file_id, job.validation_file_id):
            with pytest.raises(Conflict, match=job.id):
                service.require_no_reader(tx, tx.get_one(File, file_id))
        service.cancel(tx, principal, job.id)
        service.require_no_reader(tx, tx.get_one(File, job.training_file_id))


def test_a_job_of_files_of_its_own_has_a_row_that_says_all_that_was_asked(database: Database) -> None:
    principal = an_enterprise(database)
    asked = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}, "lora": {"r": 8}}}
    with database.transaction() as tx:
        job_id = create(tx, principal, method=asked, suffix="s").id
    with database.read() as tx:
        job = tx.get_one(FineTuningJob, job_id)
        assert (job.requested, job.suffix) == (asked["supervised"], "s")
