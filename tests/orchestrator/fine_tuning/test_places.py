"""Where a waiting training stands, and when it may start."""

import pytest

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.fine_tuning import places, progress
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.places import Occupancy, starts_in
from orchestrator.fine_tuning.states import FineTuningStatus
from tests.factories import make_fine_tuning
from tests.orchestrator.fine_tuning.jobs_at import an_enterprise, begin_again, look, metrics, queued, running

ONE_GPU_10, TWO_GPUS_10, ONE_GPU_30 = Occupancy(1, 10.0), Occupancy(2, 10.0), Occupancy(1, 30.0)


@pytest.mark.parametrize(
    ("wanted", "gpus", "running", "ahead", "seconds"),
    [
        (1, 1, [], [], 0.0),
        (1, 1, [ONE_GPU_10], [], 10.0),
        (1, 1, [ONE_GPU_10], [ONE_GPU_30], 40.0),
        (1, 2, [ONE_GPU_10, ONE_GPU_30], [], 10.0),
        (2, 2, [ONE_GPU_10, ONE_GPU_30], [], 30.0),
        (1, 2, [ONE_GPU_30], [TWO_GPUS_10], 40.0),  # in order: none goes past the one that needs both
        (2, 1, [], [], None),
        (1, 1, [Occupancy(1, None)], [], None),
        (1, 1, [], [Occupancy(1, None)], None),
    ],
)
def test_a_training_starts_when_those_ahead_have_left_enough_gpus(
    wanted: int, gpus: int, running: list[Occupancy], ahead: list[Occupancy], seconds: float | None
) -> None:
    assert starts_in(wanted, gpus=gpus, running=running, ahead=ahead) == seconds


def test_a_queued_job_knows_its_place_and_its_start(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease = running(tx, principal)
        progress.record(tx, lease, [metrics(10)], steps_per_second=2.0)  # 20 steps are left: 10 s
        first, second = (tx.get_one(FineTuningJob, queued(tx, principal)) for _ in range(2))
        found = [places.position(tx, job, gpus=1) for job in (first, second)]
        assert [place and place.position for place in found] == [1, 2]
        waits = [(place.estimated_start_at - clock.now()).total_seconds() for place in found]
        assert waits == pytest.approx([10.0, 110.0], abs=2.0)
        assert places.position(tx, look(tx, lease), gpus=1) is None


def test_trainings_with_gpus_are_apart_from_those_that_wait(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        lease, waiting = running(tx, principal), queued(tx, principal)
        assert [t.fine_tuning.id for t in places.holding(tx)] == [lease.fine_tuning_id]
        assert [t.fine_tuning.id for t in places.waiting(tx, limit=5)] == [waiting]


def test_a_job_whose_attempt_is_about_to_begin_is_first(database: Database) -> None:
    principal = an_enterprise(database)
    with database.transaction() as tx:
        job_id = queued(tx, principal)
        begin_again(tx, job_id)
        place = places.position(tx, tx.get_one(FineTuningJob, job_id), gpus=1)
        assert place is not None
        assert place.position == 1


def test_what_is_left_is_known_by_pace_else_by_estimate_else_not_at_all() -> None:
    def left(**columns: object) -> float | None:
        return places.remaining_seconds(FineTuningJob.model_construct(**columns))

    estimate = {"duration_seconds": 100.0}
    assert left(total_steps=10, step=5, steps_per_second=0.5, estimate=estimate) == 10.0
    assert left(total_steps=10, step=5, steps_per_second=None, estimate=estimate) == 50.0
    assert left(total_steps=10, step=5, steps_per_second=None, estimate=None) is None
    assert left(total_steps=None, step=0, steps_per_second=None, estimate=None) is None


def test_the_pace_of_a_base_is_the_best_of_its_latest_trainings(database: Database) -> None:
    done = {"status": FineTuningStatus.SUCCEEDED, "step": 10, "trained_tokens": 1_000}
    with database.transaction() as tx:
        assert places.tokens_per_second(tx, "yard-smoke") is None
        for steps_per_second in (None, 2.0, 3.0):
            make_fine_tuning(tx, steps_per_second=steps_per_second, succeeded_at=clock.now(), **done)
        make_fine_tuning(tx, steps_per_second=9.0, **done | {"status": FineTuningStatus.FAILED})
        make_fine_tuning(tx, steps_per_second=9.0, base_model="other", **done)
        assert places.tokens_per_second(tx, "yard-smoke") == 300.0
