"""Which engines a batch may use and how much of them, against rows in a real Postgres."""

from contextlib import aclosing
from decimal import Decimal

from sqlmodel import Session, select

from orchestrator import clock
from orchestrator.adapters.catalog import ServedModel
from orchestrator.adapters.model import CHANNEL
from orchestrator.batches import sharing, waiting
from orchestrator.batches.model import Batch
from orchestrator.database.listen import listen
from orchestrator.database.session import Database, notify
from orchestrator.engines.model import BatchDemand, Engine, EngineAdapter, EngineStatus, Reservation
from orchestrator.models.registry import LoraSpec, ModelSpec
from orchestrator.organizations.model import Project
from tests.factories import make_adapter, make_batch, make_engine, make_project

BASE = "yard-smoke"
SPEC = ModelSpec(
    id=BASE,
    source="smoke",
    context_length=2048,
    endpoints=("/v1/chat/completions",),
    input_price=Decimal(1),
    cached_input_price=Decimal(1),
    output_price=Decimal(1),
    lora=LoraSpec(training_price=Decimal(1)),
)
PLAIN = ServedModel(BASE, SPEC)

Lines = tuple[ServedModel, int]


def adapters(tx: Session, count: int, *, project: Project | None = None) -> list[ServedModel]:
    project = project or make_project(tx)
    rows = [make_adapter(tx, project=project) for _ in range(count)]
    return [ServedModel(row.id, SPEC, row) for row in rows]


def an_engine(tx: Session, *loaded: ServedModel, capacity: int = 8, lora: bool = True) -> Engine:
    engine = make_engine(
        tx, status=EngineStatus.READY, url="http://127.0.0.1:1", capacity=capacity, lora=lora
    )
    for model in loaded:
        set_adapter(tx, engine, model, loaded_at=clock.now())
    return engine


def set_adapter(tx: Session, engine: Engine, model: ServedModel, **columns: object) -> None:
    tx.add(EngineAdapter(engine_id=engine.id, adapter_id=model.id, wanted_at=clock.now(), **columns))
    tx.flush()


def wanting(tx: Session, *lines: Lines, weight: float = 1.0) -> str:
    """A batch that wants these lines."""
    batch = make_batch(tx)
    want(tx, batch.id, *lines, weight=weight)
    return batch.id


def want(tx: Session, batch_id: str, *lines: Lines, weight: float = 1.0) -> None:
    named = {model.id: model for model, _ in lines}
    remaining = {model.id: count for model, count in lines}
    sharing.demand(tx, tx.get_one(Batch, batch_id), remaining, named, weight=weight, priority=20)


def slots(tx: Session, batch_id: str) -> dict[str, int]:
    """The batch's slots by model, over all engines."""
    shares = sharing.shares(tx, batch_id, sharing.serving(tx, [BASE]))
    return {model: sum(share.slots for share in given) for model, given in shares.items()}


def test_a_batch_with_twenty_adapters_gets_no_more_of_an_engine_than_one_without(database: Database) -> None:
    with database.transaction() as tx:
        tuned = adapters(tx, 20)
        an_engine(tx, *tuned, capacity=40)
        plain = wanting(tx, (PLAIN, 100))
        many = wanting(tx, *((model, 100) for model in tuned))
        assert slots(tx, plain)[BASE] == 40  # of 40 places, filled twice over
        assert slots(tx, many) == {model.id: 2 for model in tuned}


def test_the_models_of_a_batch_share_what_it_has_by_their_lines(database: Database) -> None:
    with database.transaction() as tx:
        (tuned,) = adapters(tx, 1)
        an_engine(tx, tuned)
        batch = wanting(tx, (PLAIN, 300), (tuned, 100))
        assert slots(tx, batch) == {BASE: 12, tuned.id: 4}


def test_what_waits_for_a_load_holds_no_slot(database: Database) -> None:
    with database.transaction() as tx:
        (tuned,) = adapters(tx, 1)
        engine = an_engine(tx)
        set_adapter(tx, engine, tuned)  # wanted there, not loaded yet
        waits, flows = wanting(tx, (tuned, 100)), wanting(tx, (PLAIN, 100))
        assert slots(tx, waits).get(tuned.id) is None
        assert slots(tx, flows)[BASE] == 16


def test_an_adapter_gets_slots_only_where_it_is_loaded(database: Database) -> None:
    with database.transaction() as tx:
        (tuned,) = adapters(tx, 1)
        has, lacks = an_engine(tx, tuned), an_engine(tx)
        batch = wanting(tx, (tuned, 100), (PLAIN, 100))
        shares = sharing.shares(tx, batch, sharing.serving(tx, [BASE]))
        assert [share.engine_id for share in shares[tuned.id]] == [has.id]
        by_engine = {share.engine_id: share.slots for share in shares[BASE]}
        assert by_engine[lacks.id] == 16
        assert by_engine[has.id] + shares[tuned.id][0].slots == 16


def test_no_engine_is_overbooked_whatever_is_loaded_where(database: Database) -> None:
    with database.transaction() as tx:
        a, b, c = adapters(tx, 3)
        engines = [an_engine(tx, a, b), an_engine(tx, b, capacity=5), an_engine(tx, a, b, c), an_engine(tx)]
        batches = [
            wanting(tx, (a, 7), (PLAIN, 3)),
            wanting(tx, (b, 90), (c, 1), weight=3.0),
            wanting(tx, (c, 40), (a, 2), weight=0.5),
            wanting(tx, (PLAIN, 1)),
        ]
        booked = dict.fromkeys((engine.id for engine in engines), 0)
        for batch in batches:
            for shares in sharing.shares(tx, batch, sharing.serving(tx, [BASE])).values():
                for share in shares:
                    booked[share.engine_id] += share.slots
        assert all(booked[engine.id] <= 2 * engine.capacity for engine in engines)
        assert all(sum(slots(tx, batch).values()) > 0 for batch in batches)


def test_demand_says_whose_engines_serve_it(database: Database) -> None:
    with database.transaction() as tx:
        (tuned,) = adapters(tx, 1)
        batch = wanting(tx, (tuned, 5), (PLAIN, 7))
        want(tx, batch, (tuned, 4), (PLAIN, 6))
        rows = tx.exec(select(BatchDemand)).all()
        assert {(row.model, row.base, row.lines) for row in rows} == {(tuned.id, BASE, 4), (BASE, BASE, 6)}


async def test_engines_hear_of_an_adapter_when_it_is_first_wanted_and_only_then(database: Database) -> None:
    async with aclosing(listen(database.url, [CHANNEL, "end"])) as heard:
        assert {await anext(heard), await anext(heard)} == {CHANNEL, "end"}
        with database.transaction() as tx:
            (tuned,) = adapters(tx, 1)
            batch = wanting(tx, (PLAIN, 100))
        with database.transaction() as tx:
            want(tx, batch, (tuned, 5))
        assert await anext(heard) == CHANNEL
        with database.transaction() as tx:
            want(tx, batch, (tuned, 4), (PLAIN, 99))
        with database.transaction() as tx:
            notify(tx, "end")
        assert await anext(heard) == "end"


def test_a_refusal_is_one_only_when_every_engine_with_lora_has_refused(database: Database) -> None:
    with database.transaction() as tx:
        (tuned,) = adapters(tx, 1)
        an_engine(tx, lora=False)
        first, second = an_engine(tx), an_engine(tx)
        set_adapter(tx, first, tuned, failure="its rank is too large")
        assert sharing.serving(tx, [BASE]).refusal(tuned) is None
        set_adapter(tx, second, tuned, failure="its rank is too large")
        assert sharing.serving(tx, [BASE]).refusal(tuned) == "its rank is too large"


def reserve(tx: Session, batch_id: str, **columns: object) -> None:
    """Reserve something of the base for whoever has the batch."""
    owner = tx.get_one(Batch, batch_id).organization_id
    tx.add(Reservation(organization_id=owner, model=BASE, created_at=clock.now(), **columns))
    tx.flush()


def test_a_reserved_share_is_there_whatever_the_others_weigh(database: Database) -> None:
    with database.transaction() as tx:
        an_engine(tx, capacity=50)
        heavy = wanting(tx, (PLAIN, 1000), weight=99.0)
        light = wanting(tx, (PLAIN, 1000))
        assert slots(tx, light)[BASE] < 5
        reserve(tx, light, share=0.4)
        assert (slots(tx, light)[BASE], slots(tx, heavy)[BASE]) == (40, 60)
        want(tx, light, (PLAIN, 10))
        assert (slots(tx, light)[BASE], slots(tx, heavy)[BASE]) == (10, 90)  # the rest is lent out


def test_of_several_engines_those_reserved_are_one_organization_s(database: Database) -> None:
    with database.transaction() as tx:
        for _ in range(3):
            an_engine(tx, capacity=10)
        heavy = wanting(tx, (PLAIN, 1000), weight=999.0)
        light = wanting(tx, (PLAIN, 1000))
        reserve(tx, light, engines=2)
        assert (slots(tx, light)[BASE], slots(tx, heavy)[BASE]) == (40, 20)


def test_a_reservation_counts_where_its_organization_s_adapters_are_loaded(database: Database) -> None:
    with database.transaction() as tx:
        (tuned,) = adapters(tx, 1)
        an_engine(tx, tuned, capacity=10)
        for _ in range(3):
            an_engine(tx, capacity=10)
        heavy = wanting(tx, (PLAIN, 1000), weight=999.0)
        light = wanting(tx, (tuned, 1000))
        reserve(tx, light, share=0.25)
        assert (slots(tx, light)[tuned.id], slots(tx, heavy)[BASE]) == (20, 60)


def test_a_batch_says_in_words_what_its_adapters_wait_for(database: Database) -> None:
    with database.transaction() as tx:
        tuned, *others = adapters(tx, 5)

        def words(*models: ServedModel) -> str | None:
            now = sharing.serving(tx, [BASE])
            served = [model.id for model in models if any(now.serves(e, model.id) for e in now.engines)]
            return waiting.waiting_for(tx, models, now, served=served)

        assert words(PLAIN, tuned) == f"a GPU for {BASE}"
        an_engine(tx, lora=False)
        assert words(PLAIN) is None
        assert words(PLAIN, tuned) == f"an engine for {BASE} that takes adapters"
        engine = an_engine(tx)
        assert words(PLAIN, tuned) == f"{tuned.id} to be loaded"
        assert (words(tuned, *others) or "").endswith(" and 2 more to be loaded")
        set_adapter(tx, engine, tuned, loaded_at=clock.now())
        assert words(PLAIN, tuned) is None
