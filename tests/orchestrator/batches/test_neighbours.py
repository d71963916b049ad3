"""Batches beside a batch: what they still want for its quote, what they had for the next ones."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session

from orchestrator import clock
from orchestrator.batches.model import Batch
from orchestrator.batches.neighbours import now_beside, ran_beside
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.entitlements.tiers import Tiers
from orchestrator.fairness import Demand
from orchestrator.metering.quotes import Neighbour
from tests.factories import make_batch, make_file

TIERS = Tiers.load()
BASE = "yard-smoke"
ADAPTER = f"ft:{BASE}:acme::7p4l0q2x"
WEIGHT = TIERS["developer"].weight


def batch_of(tx: Session, models: dict[str, int], **columns: Any) -> Batch:
    """A batch of so many lines for each model, with 400 bytes a line."""
    lines = sum(models.values())
    summary = {"lines": lines, "bad_lines": 0, "first_problems": [], "models": models, "endpoints": {}}
    return make_batch(tx, file=make_file(tx, bytes=400 * lines, summary=summary), **columns)


def beside(tx: Session, but: str | None = None, *, lines: int = 10, places: int = 100) -> list[Neighbour]:
    own = Demand(lines, WEIGHT)
    return now_beside(tx, BASE, own, but=but, places=places, answer_tokens=50.0, tiers=TIERS)


def test_a_batch_that_is_not_validated_counts_by_its_file(database: Database) -> None:
    with database.transaction() as tx:
        batch_of(tx, {BASE: 10})
        assert beside(tx) == [Neighbour(10 * (100 + 50), 1.0)]


def test_a_running_batch_counts_by_its_quote_and_what_is_left(database: Database) -> None:
    with database.transaction() as tx:
        batch_of(
            tx,
            {BASE: 10},
            status=BatchStatus.IN_PROGRESS,
            in_progress_at=clock.now(),
            estimate={"prompt_tokens": 700, "expected_output_tokens": 300},
            request_total=10,
            request_completed=4,
            request_failed=1,
        )
        assert beside(tx) == [Neighbour(500, 0.5)]


def test_adapters_count_with_their_base_and_other_models_do_not(database: Database) -> None:
    with database.transaction() as tx:
        batch_of(tx, {ADAPTER: 4, f"{ADAPTER}:ckpt-step-9": 4, "other": 2})
        batch_of(tx, {"other": 10})
        assert beside(tx) == [Neighbour(8 * 150, 0.8)]


def test_while_there_are_places_for_all_a_larger_batch_presses_harder(database: Database) -> None:
    with database.transaction() as tx:
        batch_of(tx, {BASE: 60})
        assert beside(tx, places=100) == [Neighbour(60 * 150, 6.0)]
        assert beside(tx, places=20) == [Neighbour(60 * 150, 1.0)]


def test_where_places_are_short_weights_decide(database: Database) -> None:
    heavier = TIERS["enterprise"]
    with database.transaction() as tx:
        batch_of(tx, {BASE: 1_000}, tier=heavier.name)
        (other,) = beside(tx, lines=1_000)
        assert other.pressure == pytest.approx(heavier.weight / WEIGHT, rel=0.1)


def test_what_somebody_has_reserved_presses_harder_and_one_s_own_less(database: Database) -> None:
    with database.transaction() as tx:
        other = batch_of(tx, {BASE: 1_000})
        asking = batch_of(tx, {BASE: 1_000})

        def pressure(reserved: dict[str, int]) -> float:
            own = Demand(1_000, WEIGHT, owner=asking.organization_id)
            (neighbour,) = now_beside(
                tx,
                BASE,
                own,
                but=asking.id,
                places=100,
                reserved=reserved,
                answer_tokens=50.0,
                tiers=TIERS,
            )
            return neighbour.pressure

        assert pressure({}) == 1
        assert pressure({other.organization_id: 75}) == 3
        assert pressure({asking.organization_id: 75}) == pytest.approx(1 / 3)


@pytest.mark.parametrize("status", [BatchStatus.FINALIZING, BatchStatus.COMPLETED, BatchStatus.CANCELLING])
def test_what_wants_no_more_lines_is_no_neighbour(database: Database, status: BatchStatus) -> None:
    with database.transaction() as tx:
        batch_of(tx, {BASE: 10}, status=status, output_file_id="file-1")
        asking = batch_of(tx, {BASE: 10})
        assert beside(tx, but=asking.id) == []


def test_others_have_had_their_part_of_the_time_beside(database: Database) -> None:
    now = clock.now()

    def at(seconds: float) -> Any:
        return now + timedelta(seconds=seconds)

    def ran(models: dict[str, int], begin: float, end: float | None, **columns: Any) -> Batch:
        usage = {m: {"input_tokens": 60 * n, "output_tokens": 40 * n, "lines": n} for m, n in models.items()}
        status = BatchStatus.IN_PROGRESS if end is None else BatchStatus.FINALIZING
        finalizing_at = None if end is None else at(end)
        return batch_of(
            tx, models, status=status, usage=usage, in_progress_at=at(begin), finalizing_at=finalizing_at
        )

    with database.transaction() as tx:
        ours = ran({ADAPTER: 1}, -20, -10)
        ran({BASE: 10}, -25, -15)  # half of it beside
        ran({BASE: 4, "other": 4}, -18, -12)  # within
        ran({BASE: 10}, -40, -20)  # before
        ran({BASE: 10}, -10, 0)  # after
        ran({"other": 10}, -20, -10)
        assert ran_beside(tx, ours, began=at(-20)) == 500 + 400
        ran({BASE: 10}, -20, None)  # still there: half of its time so far
        assert ran_beside(tx, ours, began=at(-20)) == pytest.approx(500 + 400 + 500, abs=5)
