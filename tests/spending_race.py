"""Batches that race toward one spend limit: real drives, a real database, and an engine whose answers are
longer than anybody expected."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from orchestrator import ids
from orchestrator.batches.line_index import LineIndex
from orchestrator.database.session import Database
from orchestrator.metering import ledger
from orchestrator.metering.model import UsageKind
from orchestrator.metering.prices import Prices, Rate
from orchestrator.organizations.model import Project
from orchestrator.planning import order
from orchestrator.spending import caps, holds
from orchestrator.spending.bill import Bill
from orchestrator.spending.holds import Allowance, Work
from orchestrator.spending.standing import spending
from orchestrator.storage.local import LocalStore
from tests.batch_files import Shelf, chat_line, write_batch
from tests.fakes import ScriptedEngine, completion, scripted_engine
from workers.inference.budget import Budget
from workers.inference.drive import Orders, drive

RATE = Rate(Prices(input=1_000_000, cached_input=500_000, output=4_000_000), 0.5)
PROMPT_TOKENS, BOUND_TOKENS = 20, 200
QUOTED_SHARE = 0.25  # of the bound, as a quote without history takes it
ANSWER_TOKENS = (20, 180)  # twice what was quoted, and nine times as long as one another
ENGINE_SECONDS = 0.02  # of an answer
BEAT_SECONDS = 0.05  # and at once when a line has to wait for money
DEADLINE_SECONDS = 120.0


@dataclass(frozen=True)
class Outcome:
    """What a race came to, in micro-dollars and lines."""

    cap: int
    charged: int
    answered: int
    left: int
    in_flight_max: int  # over all batches

    @property
    def line(self) -> float:
        """What a line cost in the mean."""
        return self.charged / self.answered

    @property
    def overshoot(self) -> int:
        """What was charged beyond the cap."""
        return max(0, self.charged - self.cap)


@dataclass
class _Batch:
    """One batch, its drive and what it holds."""

    work: Work
    source: Path
    index: LineIndex
    shelf: Shelf
    orders: Orders = field(default_factory=Orders)
    nudged: asyncio.Event = field(default_factory=asyncio.Event)

    def spent(self) -> int:
        used: Counter[str] = Counter()
        for segment in self.shelf.adopted:
            used.update(segment.usage.get("m", {}))
        return RATE.cost_micros(used)


async def race(
    database: Database,
    project: Project,
    folder: Path,
    *,
    batches: int,
    lines: int,
    slots: int,
    cap_lines: int,
) -> Outcome:
    """Drive so many batches at once, with `slots` lines in flight each, toward a cap of about `cap_lines`."""
    answer = (sum(ANSWER_TOKENS) // 2) * RATE.prices.output + PROMPT_TOKENS * RATE.prices.input
    cap = int(cap_lines * answer * (1 - RATE.discount) / 1_000_000)
    with database.transaction() as tx:
        caps.set_cap(tx, organization_id=project.organization_id, cap_micros=cap, running=[], actor="key_1")
    everyone = list(_batches(project, folder, batches, lines))
    async with asyncio.timeout(DEADLINE_SECONDS), scripted_engine(_at_length(random.Random(7))) as engine:
        await asyncio.gather(*(_run(database, batch, engine, slots) for batch in everyone))
    with database.read() as tx:
        charged = spending(tx, project.organization_id).charged
    answered = sum(segment.completed for batch in everyone for segment in batch.shelf.adopted)
    return Outcome(cap, charged, answered, batches * lines - answered, engine.in_flight_max)


def _batches(project: Project, folder: Path, batches: int, lines: int) -> Iterator[_Batch]:
    for number in range(batches):
        place = folder / str(number)
        place.mkdir(parents=True)
        index = write_batch(place / "input.jsonl", [chat_line(line) for line in range(lines)])
        sized = replace(
            index,
            prompt_tokens=np.full(lines, PROMPT_TOKENS, np.uint32),
            max_output_tokens=np.full(lines, BOUND_TOKENS, np.uint32),
        )
        work = Work(ids.new("batch_"), project.organization_id, project.id)
        yield _Batch(work, place / "input.jsonl", sized, Shelf(LocalStore(place / "store")))


def _at_length(dice: random.Random) -> Any:
    async def answer(engine: ScriptedEngine, request: web.Request, body: dict[str, Any]) -> web.Response:
        await asyncio.sleep(ENGINE_SECONDS)
        tokens = dice.randint(*ANSWER_TOKENS)
        return web.json_response(completion("x", prompt_tokens=PROMPT_TOKENS, completion_tokens=tokens))

    return answer


async def _run(database: Database, batch: _Batch, engine: ScriptedEngine, slots: int) -> None:
    """One batch from its first grant to its charge."""
    todo = np.arange(len(batch.index))
    batch.orders.budget = Budget(
        batch.index,
        todo=todo,
        rates={"m": RATE},
        output_share=QUOTED_SHARE,
        on_short=batch.nudged.set,
    )
    batch.orders.budget.grant(0)
    batch.orders.retarget({"m": [engine.target(slots)]})
    beating = asyncio.create_task(_heart(database, batch))
    await drive(
        source=batch.source,
        index=batch.index,
        order=order(batch.index, todo),
        orders=batch.orders,
        segments=batch.shelf.writer(),
    )
    batch.orders.stop = batch.orders.stop or "driven"
    batch.nudged.set()
    await beating
    await asyncio.to_thread(_charge, database, batch)


async def _heart(database: Database, batch: _Batch) -> None:
    budget = batch.orders.budget
    assert budget is not None
    while not batch.orders.stop:
        allowance = await asyncio.to_thread(_settle, database, batch.work, budget.bill())
        budget.grant(allowance.granted)
        if allowance.final:
            batch.orders.stop_sending("spend_limit_reached")
        batch.orders.changed.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(batch.nudged.wait(), BEAT_SECONDS)
        batch.nudged.clear()


def _settle(database: Database, work: Work, bill: Bill) -> Allowance:
    with database.transaction() as tx:
        return holds.settle(tx, work, bill)


def _charge(database: Database, batch: _Batch) -> None:
    with database.transaction() as tx:
        ledger.charge(
            tx,
            key=batch.work.resource_id,
            kind=UsageKind.BATCH,
            organization_id=batch.work.organization_id,
            project_id=batch.work.project_id,
            resource_id=batch.work.resource_id,
            model="m",
            used={},
            prices=RATE.snapshot(),
            cost_micros=batch.spent(),
        )
        holds.release(tx, batch.work)
