"""The quote of a prepared file, over what the yard has seen and what goes on in it."""

from pathlib import Path

from sqlmodel import Session

from orchestrator import clock
from orchestrator.adapters.catalog import ServedModel
from orchestrator.batches import quote_book
from orchestrator.batches.estimate import estimate
from orchestrator.batches.model import Batch
from orchestrator.batches.sizing import ModelSums
from orchestrator.database.session import Database
from orchestrator.engines.model import EngineStatus, Reservation
from orchestrator.entitlements.tiers import Tiers
from orchestrator.files.model import File
from orchestrator.metering.prices import Prices, Rate
from orchestrator.models.registry import Registry
from tests.factories import make_batch, make_engine, make_file

BASE = "yard-smoke"
TIERS = Tiers.load()
DEVELOPER = TIERS["developer"]
LINES, PROMPT_TOKENS = 400, 40_000


def batch_of_400(tx: Session) -> Batch:
    summary = {"lines": LINES, "bad_lines": 0, "first_problems": [], "models": {BASE: LINES}, "endpoints": {}}
    return make_batch(tx, file=make_file(tx, bytes=4 * PROMPT_TOKENS, summary=summary))


def ran_before(tx: Session) -> None:
    """A batch of a thousand tokens, none of them an answer's, that took ten seconds on a ready engine."""
    batch = make_batch(tx)
    quoted = {"prompt_tokens": 1_000}
    file = tx.get_one(File, batch.input_file_id)
    record = quote_book.keep(
        tx, quoted, file=file, project_id=batch.project_id, model=BASE, batch_id=batch.id
    )
    record.actual_finish_seconds, record.settled_at = 10.0, clock.now()


def finish(tx: Session, batch: Batch) -> float:
    registry = Registry.load(None, home=Path("/nowhere"))
    spec = registry.get(BASE)
    assert spec is not None
    quoted = estimate(
        tx,
        {BASE: ModelSums(lines=LINES, prompt_tokens=PROMPT_TOKENS, max_output_tokens=0)},
        named={BASE: ServedModel(BASE, spec)},
        rates={BASE: Rate(Prices(1, 1, 1), 0.5)},
        tiers=TIERS,
        tier=DEVELOPER,
        organization_id=batch.organization_id,
        batch_id=batch.id,
    )
    seconds: float = quoted["finish_p50_seconds"]
    return seconds


def test_who_has_reserved_places_is_quoted_to_end_sooner(database: Database) -> None:
    with database.transaction() as tx:
        now = clock.now()
        make_engine(tx, status=EngineStatus.READY, url="http://127.0.0.1:9", capacity=50, ready_at=now)
        ran_before(tx)
        own, other = batch_of_400(tx), batch_of_400(tx)
        tx.flush()
        alike = finish(tx, own)
        tx.add(Reservation(organization_id=own.organization_id, model=BASE, share=0.75, created_at=now))
        tx.flush()
        assert finish(tx, own) < alike
        assert finish(tx, other) == alike  # as before, it ends once all lines of both have been answered
