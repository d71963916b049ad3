"""The ledger once more, from what is not the ledger: is every charge what the result files and checkpoints
say at the prices that were quoted, and every balance what the charges add up to?

Lines are counted in a batch's output file; trained tokens are those of a job's last checkpoint. A synchronous
request leaves nothing but its ledger row, of which only the arithmetic can be done again. So it is with a
batch whose files are gone by now.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from sqlalchemy import func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from orchestrator.batches.model import Batch
from orchestrator.batches.rates import quoted_rates
from orchestrator.batches.recount import recount
from orchestrator.batches.states import FINAL
from orchestrator.database.session import Database
from orchestrator.files.model import File
from orchestrator.fine_tuning.model import FineTuningCheckpoint, FineTuningJob
from orchestrator.fine_tuning.states import FineTuningStatus
from orchestrator.metering.ledger import month_of
from orchestrator.metering.model import Spent, Usage, UsageKind
from orchestrator.metering.prices import Rate, training_cost_micros
from orchestrator.storage.store import ObjectMissing, ObjectStore

ROWS_A_READ = 1_000
CHARGED_TRAININGS = (FineTuningStatus.SUCCEEDED, FineTuningStatus.CANCELLED)

Account: TypeAlias = tuple[str, str, date]  # organization, project, month


@dataclass(frozen=True)
class Charge:
    """What one piece of work owes for one model, without its moment."""

    resource_id: str
    model: str
    lines: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    trained_tokens: int
    cost_micros: int

    @classmethod
    def of(cls, row: Usage) -> "Charge":
        """What a ledger row says."""
        return cls(**{name: getattr(row, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Rebuilt:
    """`differences` says in words where the ledger, or a balance, is not what it should be; it is empty if
    all is well. `balances` are the rebuilt ones. Of the `charges` that were rebuilt, `taken` are those whose
    counts only the ledger has."""

    charges: int
    taken: int
    balances: Mapping[Account, int]
    differences: Sequence[str]


@dataclass
class _Books:
    """What was there at one moment, and what is found while it is gone through."""

    batches: list[tuple[Batch, str, str | None]]  # with the keys of input and output
    trainings: list[Charge]
    rows: defaultdict[str, list[Usage]]  # by resource, until they are compared
    spent: dict[Account, int]
    charges: int = 0
    taken: int = 0
    balances: defaultdict[Account, int] = field(default_factory=lambda: defaultdict(int))
    differences: list[str] = field(default_factory=list)

    def compare(self, resource_id: str, charges: Iterable[Charge]) -> None:
        """Hold what one piece of work owes against its rows."""
        rows = self.rows.pop(resource_id, [])
        expected = sorted(charges, key=lambda charge: charge.model)
        found = sorted(map(Charge.of, rows), key=lambda charge: charge.model)
        if found != expected:
            self.differences.append(f"the ledger has {found}, rebuilt is {expected}")
        costs = {charge.model: charge.cost_micros for charge in expected}
        for row in rows:
            self.put(row, costs.get(row.model, 0))

    def take(self, row: Usage) -> None:
        """Only the ledger knows: see that the row's cost follows from its counts and prices."""
        cost = _arithmetic(row)
        if cost != row.cost_micros:
            self.differences.append(f"{row.resource_id}: charged {row.cost_micros}, its row makes {cost}")
        self.taken += 1
        self.put(row, cost)

    def put(self, row: Usage, cost_micros: int) -> None:
        """Add to the balance that the row belongs to."""
        self.charges += 1
        self.balances[row.organization_id, row.project_id, month_of(row.at)] += cost_micros


async def rebuild(database: Database, store: ObjectStore, *, scratch: Path) -> Rebuilt:
    """Reckon everything again that has ended. Reads every result file that there still is, one at a time.
    Safe beside a running yard: what is compared is one snapshot of it."""
    books = await asyncio.to_thread(_load, database)
    for batch, requests, output in books.batches:
        try:
            books.compare(batch.id, await _of_batch(batch, requests, output, store, scratch))
        except ObjectMissing:
            for row in books.rows.pop(batch.id, []):
                books.take(row)
        except ValueError as error:
            books.differences.append(f"{batch.id}: {error}")
            books.rows.pop(batch.id, None)
    for training in books.trainings:
        books.compare(training.resource_id, [training] if training.trained_tokens else [])
    for resource_id, rows in books.rows.items():
        books.differences.append(f"{resource_id} is charged {len(rows)} times and has not ended so")
    for account in sorted({*books.balances, *books.spent}):
        if books.balances[account] != books.spent.get(account, 0):
            books.differences.append(
                f"{account}: the balance is {books.spent.get(account, 0)}, rebuilt {books.balances[account]}"
            )
    return Rebuilt(books.charges, books.taken, dict(books.balances), books.differences)


def _load(database: Database) -> _Books:
    with database.read() as tx:
        tx.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        spent = tx.exec(select(Spent)).all()
        books = _Books(
            batches=_batches(tx),
            trainings=_trainings(tx),
            rows=defaultdict(list),
            spent={(one.organization_id, one.project_id, one.month): one.micros for one in spent},
        )
        for row in tx.exec(select(Usage).execution_options(yield_per=ROWS_A_READ)):
            if row.kind is UsageKind.SANDBOX:
                books.take(row)
            else:
                books.rows[row.resource_id].append(row)
        return books


def _batches(tx: Session) -> list[tuple[Batch, str, str | None]]:
    """Those that have ended. One without an output file has finished no line, or is not charged for any."""
    requests, output = aliased(File), aliased(File)
    ended = (
        select(Batch, requests.key, output.key)
        .join(requests, col(requests.id) == col(Batch.input_file_id))
        .outerjoin(output, col(output.id) == col(Batch.output_file_id))
        .where(col(Batch.status).in_(FINAL))
    )
    return list(tx.exec(ended).all())


def _trainings(tx: Session) -> list[Charge]:
    """What each training owes for the tokens up to its last checkpoint; one that failed is not charged."""
    last = (
        select(FineTuningJob, func.max(FineTuningCheckpoint.trained_tokens))
        .join(FineTuningCheckpoint, col(FineTuningCheckpoint.job_id) == col(FineTuningJob.id))
        .where(col(FineTuningJob.status).in_(CHARGED_TRAININGS))
        .group_by(col(FineTuningJob.id))
    )
    return [
        Charge(job.id, job.base_model, 0, 0, 0, 0, tokens, training_cost_micros(tokens, job.price_micros))
        for job, tokens in tx.exec(last)
    ]


async def _of_batch(
    batch: Batch, requests: str, output: str | None, store: ObjectStore, scratch: Path
) -> list[Charge]:
    """What the batch owes by its output file, read with its input file where that tells its models apart.
    Raises ObjectMissing where one of them is gone, and ValueError where they make no sense."""
    if output is None:
        return []
    if batch.rates is None:  # from before prices were kept
        raise ObjectMissing(output)
    with TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        async with store.local_copy(output, folder) as answers:
            if batch.model is not None:
                usage = await asyncio.to_thread(recount, answers, model=batch.model, requests=None)
            else:
                async with store.local_copy(requests, folder) as asked:
                    usage = await asyncio.to_thread(recount, answers, model=None, requests=asked)
    rates = quoted_rates(batch)
    if unpriced := usage.keys() - rates.keys():
        raise ValueError(f"no price was kept for {', '.join(sorted(unpriced))}")
    return [
        Charge(
            resource_id=batch.id,
            model=model,
            lines=used["lines"],
            input_tokens=used["input_tokens"],
            cached_tokens=used["cached_tokens"],
            output_tokens=used["output_tokens"],
            trained_tokens=0,
            cost_micros=rates[model].cost_micros(used),
        )
        for model, used in usage.items()
    ]


def _arithmetic(row: Usage) -> int:
    """What the row's own counts make at its own prices. One from before prices were kept is believed."""
    if "training" in row.prices:
        return training_cost_micros(row.trained_tokens, int(row.prices["training"]))
    if not row.prices:
        return row.cost_micros
    used = {name: getattr(row, name) for name in ("input_tokens", "cached_tokens", "output_tokens")}
    return Rate.of(row.prices).cost_micros(used)
