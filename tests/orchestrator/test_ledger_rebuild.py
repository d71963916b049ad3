"""The ledger rebuilt from files: batches are run here from lease to charge, with everything but an engine."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec import Raw
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.batches import finalize, progress
from orchestrator.batches.answer_usage import read_usage
from orchestrator.batches.merge import Unrun, merge
from orchestrator.batches.model import Batch
from orchestrator.batches.progress import BatchLease, Stop
from orchestrator.batches.result_files import ResultFile
from orchestrator.batches.result_lines import Kind, LineError, answered, open_requests, unanswered
from orchestrator.batches.segments import ResultMap, SegmentInfo, SegmentWriter
from orchestrator.database.session import Database
from orchestrator.fine_tuning import endings
from orchestrator.fine_tuning.model import FineTuningCheckpoint
from orchestrator.fine_tuning.states import FineTuningStatus
from orchestrator.jobs import service as jobs
from orchestrator.ledger_rebuild import Rebuilt, rebuild
from orchestrator.metering import ledger
from orchestrator.metering.model import Spent, Usage, UsageKind
from orchestrator.metering.prices import Prices, Rate
from orchestrator.organizations.model import Project
from orchestrator.storage import keys
from orchestrator.storage.local import LocalStore
from tests.batch_files import chat_line, write_batch
from tests.factories import make_batch, make_file, make_fine_tuning, make_job, make_project

PRICES = {
    "small": Prices(50_000, 25_000, 80_000),
    "large": Prices(1_234_567, 617_283, 9_876_543),
    "ft:small:acme::x": Prices(1, 0, 3),
}


@dataclass
class Yard:
    """A database and a store, and the batches that are run in them."""

    database: Database
    store: LocalStore
    folder: Path
    random: Random

    async def rebuilt(self) -> Rebuilt:
        return await rebuild(self.database, self.store, scratch=self.folder)

    async def run(
        self, project: Project, *, models: Sequence[str], discount: float, lines: int = 40, unrun: int = 0
    ) -> Batch:
        """A batch whose lines name these models; the last `unrun` never run, since its window closes."""
        sent = [chat_line(number, model=self.random.choice(models)) for number in range(lines)]
        source = self.folder / f"{ids.new('file-')}.jsonl"
        index = write_batch(source, sent)
        lease = self._begin(project, source, sent, discount)
        batch = await self._drive(lease, sent[: lines - unrun])
        segments, copy = progress_segments(self.database, batch), self.folder / "segments"
        with copy.open("wb") as file:
            results = await ResultMap.scan(self.store, segments, lines=lines, copy=file)
        stop = Stop.WINDOW_CLOSED if unrun else None
        with open_requests(source, index) as requests:
            why = Unrun(index.wanted, requests, LineError("batch_expired", "Too late."))
            output = await self._store(batch, Kind.OUTPUT, results, copy, None)
            error = await self._store(batch, Kind.ERROR, results, copy, why)
        with self.database.transaction() as tx:
            if stop is None:
                assert finalize.driven(tx, lease)
            return finalize.finish(tx, lease, stop=stop, output=output, error=error)

    def _begin(self, project: Project, source: Path, sent: Sequence[Any], discount: float) -> BatchLease:
        named = sorted({line["body"]["model"] for line in sent})
        with self.database.transaction() as tx:
            file = make_file(tx, project=project)
            batch = make_batch(tx, file=file)
            job = make_job(tx, resource_id=batch.id)
            jobs.claim(tx, limit=1)
            lease = progress.begin(tx, job_id=job.id, attempt=1, flow_run_id="run-1")
            assert lease is not None
            progress.validated(
                tx,
                lease,
                total=len(sent),
                model=named[0] if len(named) == 1 else None,
                errors=None,
                estimate={"expected_cost_micros": 0},
                rates={name: Rate(PRICES[name], discount) for name in named},
                report=None,
            )
        target = self.store.root / file.key
        target.parent.mkdir(parents=True)
        target.write_bytes(b"\xef\xbb\xbf" + source.read_bytes() + b"not json\n")
        return lease

    async def _drive(self, lease: BatchLease, sent: Sequence[Any]) -> Batch:
        """Answer the lines in any order, some with a refusal, in small segments."""

        async def put(number: int, data: bytes) -> str:
            key = keys.segment("org", lease.batch_id, 1, number)
            await self.store.put(key, data)
            return key

        async def adopt(segment: SegmentInfo) -> None:
            with self.database.transaction() as tx:
                progress.adopt(tx, lease, segment)

        writer = SegmentWriter(put, adopt)
        for number in self.random.sample(range(len(sent)), len(sent)):
            line = sent[number]
            custom_id = Raw(json.dumps(line["custom_id"]).encode())
            if number % 7 == 3:
                error = unanswered(custom_id, LineError("request_timeout", "Slow."))
                await writer.add(number, Kind.ERROR, error, model=line["body"]["model"])
                continue
            body = self._answer()
            data = answered(custom_id, "req_1", 200, body)
            await writer.add(number, Kind.OUTPUT, data, model=line["body"]["model"], usage=read_usage(body))
        writer.close()
        await writer.run()
        with self.database.read() as tx:
            return tx.get_one(Batch, lease.batch_id)

    def _answer(self) -> bytes:
        """As the three kinds of endpoints give it; an engine may name another model than was asked for."""
        inputs = self.random.randrange(1, 5_000)
        cached = {"cached_tokens": self.random.randrange(inputs)}
        usage = self.random.choice(
            [
                {"prompt_tokens": inputs, "completion_tokens": 77, "prompt_tokens_details": cached},
                {"input_tokens": inputs, "output_tokens": 31, "input_tokens_details": cached},
                {"prompt_tokens": inputs, "total_tokens": inputs, "prompt_tokens_details": None},
            ]
        )
        return json.dumps({"model": "somebody-elses-name", "usage": usage}).encode()

    async def _store(
        self, batch: Batch, kind: Kind, results: ResultMap, copy: Path, unrun: Unrun | None
    ) -> ResultFile | None:
        lines = results.lines(kind) + (len(results.todo(unrun.wanted)) if unrun else 0)
        key = keys.batch_result(batch.organization_id, batch.id, kind.value)
        stored = await self.store.put_stream(key, merge(kind, results, copy, unrun=unrun))
        return ResultFile(key, stored, lines=lines, keep_days=7) if lines else None


def progress_segments(database: Database, batch: Batch) -> Sequence[Any]:
    with database.read() as tx:
        return progress.segments(tx, batch.id)


@pytest.fixture
def yard(database: Database, store: LocalStore, tmp_path: Path) -> Yard:
    return Yard(database, store, tmp_path, Random(4))


def balances(tx: Session) -> dict[tuple[str, str, Any], int]:
    return {(row.organization_id, row.project_id, row.month): row.micros for row in tx.exec(select(Spent))}


def train(tx: Session, project: Project, tokens: int) -> None:
    """A training that was cancelled after its second checkpoint."""
    job = make_fine_tuning(
        tx,
        file=make_file(tx, project=project),
        status=FineTuningStatus.CANCELLED,
        trained_tokens=tokens,
        price_micros=333_333,
    )
    for step, so_far in ((1, tokens // 2), (2, tokens)):
        values = {"adapter_id": f"ft-{step}", "state_key": "key", "metrics": {}, "created_at": clock.now()}
        tx.add(
            FineTuningCheckpoint(
                id=ids.new("ftckpt_"), job_id=job.id, step=step, trained_tokens=so_far, **values
            )
        )
    endings.charge(tx, job)


def sandbox(tx: Session, project: Project, *, cost_micros: int) -> None:
    """A synchronous request for 1,000 prompt tokens of `small`, which cost 50 micro-dollars."""
    ledger.charge(
        tx,
        key=ids.new("req_"),
        kind=UsageKind.SANDBOX,
        organization_id=project.organization_id,
        project_id=project.id,
        resource_id=ids.new("req_"),
        model="small",
        used={"lines": 1, "input_tokens": 1_000},
        prices=Rate(PRICES["small"], 0.0).snapshot(),
        cost_micros=cost_micros,
    )


async def test_every_charge_and_balance_follows_from_the_files(yard: Yard) -> None:
    with yard.database.transaction() as tx:
        first, second = make_project(tx), make_project(tx)
        train(tx, first, 12_345)
        sandbox(tx, second, cost_micros=50)
    await yard.run(first, models=["small"], discount=0.5)
    await yard.run(first, models=list(PRICES), discount=1 / 3)
    await yard.run(second, models=["large", "ft:small:acme::x"], discount=0.0, unrun=11)
    await yard.run(second, models=["large", "small"], discount=1.0)
    found = await yard.rebuilt()
    assert found.differences == []
    assert (found.charges, found.taken) == (1 + 3 + 2 + 2 + 2, 1)
    with yard.database.read() as tx:
        assert found.balances == balances(tx)
        assert sum(found.balances.values()) == sum(tx.exec(select(Usage.cost_micros))) > 0


async def test_whatever_does_not_agree_is_said(yard: Yard) -> None:
    with yard.database.transaction() as tx:
        project = make_project(tx)
    batch = await yard.run(project, models=["small", "large"], discount=0.5)
    output = yard.store.root / keys.batch_result(batch.organization_id, batch.id, "output")
    as_it_was = output.read_bytes()
    output.write_bytes(b"".join(as_it_was.splitlines(keepends=True)[1:]))
    line_missing = (await yard.rebuilt()).differences
    assert batch.id in line_missing[0]
    assert "the balance is" in line_missing[1]
    output.write_bytes(as_it_was + b'{"custom_id":"line-999","response":{"body":{}}}\n')
    assert "answers no line of the input" in (await yard.rebuilt()).differences[0]
    output.write_bytes(as_it_was)
    assert (await yard.rebuilt()).differences == []
    with yard.database.transaction() as tx:
        sandbox(tx, project, cost_micros=51)
        ledger.charge(
            tx,
            key="twice",
            kind=UsageKind.BATCH,
            organization_id=project.organization_id,
            project_id=project.id,
            resource_id=batch.id,
            model="small",
            used={"lines": 1},
            prices={},
            cost_micros=0,
        )
        train(tx, project, 1_000_000)
        tx.exec(
            select(FineTuningCheckpoint).order_by(col(FineTuningCheckpoint.step).desc())
        ).first().trained_tokens += 3
    told = (await yard.rebuilt()).differences
    for place, words in enumerate(("its row makes 50", batch.id, "trained_tokens=1000003")):
        assert words in told[place]


async def test_a_batch_whose_files_are_gone_is_taken_as_the_ledger_has_it(yard: Yard) -> None:
    with yard.database.transaction() as tx:
        project = make_project(tx)
    batch = await yard.run(project, models=["small", "large"], discount=0.5)
    await yard.store.delete([keys.batch_result(batch.organization_id, batch.id, "output")])
    found = await yard.rebuilt()
    assert (found.charges, found.taken, found.differences) == (2, 2, [])
