"""What drives in tests run on: a batch file, a shelf of segments, scripted engines over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from orchestrator.batches.line_index import LineIndex
from orchestrator.batches.merge import Unrun, merge
from orchestrator.batches.result_lines import Kind, LineError, open_requests
from orchestrator.batches.segments import ResultMap
from orchestrator.planning import order
from orchestrator.storage.local import LocalStore
from tests.batch_files import Shelf, chat_line, write_batch
from tests.fakes import Script, ScriptedEngine, echo, scripted_engine
from workers.inference import drive as drive_module
from workers.inference.drive import Orders, Target, drive

DEADLINE_SECONDS = 20.0
EXPIRED = LineError("batch_expired", "The window is closed.")


class Bench:
    """One batch of `lines`, and what to do with it."""

    def __init__(self, folder: Path, store: LocalStore) -> None:
        self.source = folder / "input.jsonl"
        self.copy = folder / "segments"
        self.shelf = Shelf(store)
        self.orders = Orders()
        self.index: LineIndex

    def of(self, *lines: dict[str, Any]) -> "Bench":
        self.index = write_batch(self.source, lines)
        return self

    async def results(self) -> ResultMap:
        with self.copy.open("wb") as copy:
            return await ResultMap.scan(
                self.shelf.store, self.shelf.adopted, lines=len(self.index), copy=copy
            )

    async def drive(self, *targets: Target, model: str = "m", **options: Any) -> None:
        """Drive what is left to do, as an attempt of its own."""
        todo = (await self.results()).todo(self.index.wanted)
        if targets:
            self.orders.retarget({model: targets})
        writer_options = {k: options.pop(k) for k in ("flush_lines",) if k in options}
        async with asyncio.timeout(DEADLINE_SECONDS):
            await drive(
                source=self.source,
                index=self.index,
                order=order(self.index, todo),
                orders=self.orders,
                segments=self.shelf.writer(**writer_options),
                **options,
            )

    async def files(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The lines of the merged output and error files."""
        results = await self.results()
        with open_requests(self.source, self.index) as requests:
            unrun = Unrun(self.index.wanted, requests, EXPIRED)
            output = b"".join([p async for p in merge(Kind.OUTPUT, results, self.copy)])
            error = b"".join([p async for p in merge(Kind.ERROR, results, self.copy, unrun=unrun)])
        return _parsed(output), _parsed(error)

    async def contents(self) -> list[str]:
        """What the model has said, in the order of the input."""
        output, _ = await self.files()
        return [o["response"]["body"]["choices"][0]["message"]["content"] for o in output]

    async def errors(self) -> dict[str, str]:
        """The codes of the error file by custom_id."""
        _, errors = await self.files()
        return {
            e["custom_id"]: e["error"]["code"] if e["error"] else e["response"]["status_code"] for e in errors
        }


@pytest.fixture
def bench(tmp_path: Path, store: LocalStore) -> Bench:
    return Bench(tmp_path, store)


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    """Starts scripted engines that stop with the test."""
    async with AsyncExitStack() as stack:

        async def start(script: Script = echo, **fields: Any) -> ScriptedEngine:
            return await stack.enter_async_context(scripted_engine(script, **fields))

        yield start


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive_module, "RESEND_SECONDS", 0.01)
    monkeypatch.setattr(drive_module, "REST_SECONDS", 0.01)
    monkeypatch.setattr(drive_module, "REST_SECONDS_MAX", 0.05)


def lines(count: int, **body: Any) -> list[dict[str, Any]]:
    return [chat_line(number, **body) for number in range(count)]


def said(count: int) -> list[str]:
    return [f"say {number}" for number in range(count)]


def _parsed(jsonl: bytes) -> list[dict[str, Any]]:
    assert jsonl == b"" or jsonl.endswith(b"\n")
    return [json.loads(line) for line in jsonl.splitlines()]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


async def hang(engine: ScriptedEngine, request: web.Request, body: dict[str, Any]) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")
