"""A batch's run while the database is away for a moment, and for too long."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from flows import leased_run
from flows.batch_run import BatchRun
from flows.stop import StopSignal
from orchestrator.batches import progress
from orchestrator.batches.progress import BatchLease
from orchestrator.entitlements.tiers import Tiers
from orchestrator.errors import LeaseLost


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> BatchRun:
    monkeypatch.setattr(leased_run, "AWAY_SECONDS", 0.001)
    here: Any = SimpleNamespace(tiers=Tiers.load(None))
    batch: Any = SimpleNamespace(id="batch_1", tier="developer")
    return BatchRun(here, BatchLease("batch_1", "job_1", 1, "lease_1"), batch, "key", StopSignal())


def away() -> OperationalError:
    return OperationalError("COMMIT", {}, Exception("server closed the connection"))


async def test_a_segment_is_adopted_after_a_short_outage_of_the_database(run: BatchRun) -> None:
    failures = [away(), away()]

    def adopt() -> str:
        if failures:
            raise failures.pop()
        return "adopted"

    assert await run.while_leased(adopt) == "adopted"


async def test_an_outage_longer_than_the_lease_ends_the_attempt(
    run: BatchRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    monkeypatch.setattr(run, "_leased_until", began + 0.05)

    def adopt() -> str:
        raise away()

    with pytest.raises(LeaseLost):
        await run.while_leased(adopt)
    assert time.monotonic() - began < progress.LEASE_SECONDS
