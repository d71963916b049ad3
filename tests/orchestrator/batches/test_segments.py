"""The writer against a real store; the map and the merge on segments written by hand."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.batches import segments as segments_module
from orchestrator.batches.merge import Unrun, merge
from orchestrator.batches.result_lines import Kind, LineError, open_requests
from orchestrator.batches.segments import (
    LineUsage,
    ResultMap,
    SegmentCorrupt,
    SegmentInfo,
    SegmentWriter,
)
from orchestrator.errors import LeaseLost
from orchestrator.storage.local import LocalStore
from tests.batch_files import Shelf, chat_line, write_batch

DEADLINE_SECONDS = 10.0


@pytest.fixture
def shelf(store: LocalStore) -> Shelf:
    return Shelf(store)


async def shelve(shelf: Shelf, *lines: bytes, bytes_more: int = 0, failed: int = 0) -> None:
    """Adopt a segment with these lines; `bytes_more` and `failed` are what its row says."""
    data = b"".join(lines)
    key = f"segments/1-{len(shelf.adopted)}.tsv"
    await shelf.store.put(key, data)
    completed = len(lines) - failed
    size = len(data) + bytes_more
    shelf.adopted.append(SegmentInfo(len(shelf.adopted) + 1, key, size, completed, failed, {}))


async def merged(
    shelf: Shelf, lines: int, folder: Path, *, unwanted: Sequence[int] = ()
) -> tuple[list[str], list[dict[str, Any]]]:
    """The output file's lines and the error file's, of a batch whose window closed."""
    source, copy = folder / "input.jsonl", folder / "copy"
    index = write_batch(source, [chat_line(number) for number in range(lines)])
    index.wanted[list(unwanted)] = False
    with copy.open("wb") as file:
        results = await ResultMap.scan(shelf.store, shelf.adopted, lines=lines, copy=file)
    with open_requests(source, index) as requests:
        unrun = Unrun(index.wanted, requests, LineError("batch_expired", "Too late."))
        output = b"".join([p async for p in merge(Kind.OUTPUT, results, copy)])
        error = b"".join([p async for p in merge(Kind.ERROR, results, copy, unrun=unrun)])
    return output.decode().splitlines(), [json.loads(line) for line in error.splitlines()]


async def run_with(writer: SegmentWriter, *results: tuple[int, Kind, bytes]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        running = asyncio.create_task(writer.run())
        for line, kind, data in results:
            await writer.add(line, kind, data, model="m", usage=LineUsage(input_tokens=2))
        writer.close()
        await running


async def test_a_segment_is_text_that_a_person_can_read(shelf: Shelf) -> None:
    await run_with(shelf.writer(), (16, Kind.OUTPUT, b'{"a":1}'), (2, Kind.ERROR, b'{"b":2}'))
    (info,) = shelf.adopted
    data = await shelf.store.get(info.key, size_max=1000)
    assert data == b'17\toutput\t{"a":1}\n3\terror\t{"b":2}\n'
    assert (info.sequence, info.bytes, info.completed, info.failed) == (1, len(data), 1, 1)
    assert info.usage["m"]["input_tokens"] == 2


async def test_a_full_segment_is_stored_at_once(shelf: Shelf) -> None:
    writer = shelf.writer(flush_lines=2, flush_seconds=3600.0)
    running = asyncio.create_task(writer.run())
    for line in range(2):
        await writer.add(line, Kind.OUTPUT, b"{}", model="m")
    await until_adopted(shelf, 1)
    writer.close()
    await running


async def test_a_lone_result_is_stored_soon(shelf: Shelf) -> None:
    writer = shelf.writer(flush_seconds=0.01)
    running = asyncio.create_task(writer.run())
    await writer.add(0, Kind.OUTPUT, b"{}", model="m")
    await until_adopted(shelf, 1)
    writer.close()
    await running


async def until_adopted(shelf: Shelf, segments: int) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(shelf.adopted) < segments:
            await asyncio.sleep(0.001)


async def test_nothing_is_adopted_before_its_object_is_stored_and_nothing_after_a_failure() -> None:
    adopted: list[SegmentInfo] = []

    async def broken(sequence: int, data: bytes) -> str:
        raise ConnectionError("no store")

    async def adopt(info: SegmentInfo) -> None:
        adopted.append(info)

    with pytest.raises(ConnectionError):
        await run_with(SegmentWriter(broken, adopt), (0, Kind.OUTPUT, b"{}"))
    assert adopted == []


async def test_a_lost_lease_ends_the_writer(shelf: Shelf) -> None:
    shelf.lease_lost_after = 0
    with pytest.raises(LeaseLost):
        await run_with(shelf.writer(), (0, Kind.OUTPUT, b"{}"))


async def test_answers_wait_while_the_store_is_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments_module, "BUFFER_BYTES_MAX", 100)
    gate = asyncio.Event()

    async def slow(sequence: int, data: bytes) -> str:
        await gate.wait()
        return str(sequence)

    async def adopt(info: SegmentInfo) -> None:
        pass

    writer = SegmentWriter(slow, adopt, flush_lines=1)
    running = asyncio.create_task(writer.run())
    await writer.add(0, Kind.OUTPUT, b"x", model="m")
    await asyncio.sleep(0)
    await writer.add(1, Kind.OUTPUT, b"x" * 100, model="m")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await writer.add(2, Kind.OUTPUT, b"x", model="m")
    gate.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await writer.add(3, Kind.OUTPUT, b"x", model="m")
        writer.close()
        await running


async def test_results_come_in_input_order_and_the_first_adopted_wins(shelf: Shelf, tmp_path: Path) -> None:
    await shelve(shelf, b'4\toutput\t{"n":4}\n', b'1\toutput\t{"n":1}\n')
    await shelve(shelf, b'2\terror\t{"n":2}\n', b'4\terror\t{"n":"again"}\n', failed=2)
    output, error = await merged(shelf, 6, tmp_path, unwanted=[5])
    assert output == ['{"n":1}', '{"n":4}']
    assert error[0] == {"n": 2}
    assert [line["custom_id"] for line in error[1:]] == ["line-2", "line-4"]


async def test_a_line_that_never_ran_says_why(shelf: Shelf, tmp_path: Path) -> None:
    _, (line,) = await merged(shelf, 1, tmp_path)
    assert line.pop("id").startswith("batch_req_")
    assert line == {
        "custom_id": "line-0",
        "response": None,
        "error": {"code": "batch_expired", "message": "Too late."},
    }


async def test_a_batch_without_lines_of_a_kind_has_no_bytes_of_it(shelf: Shelf, tmp_path: Path) -> None:
    await shelve(shelf, b"1\toutput\t{}\n")
    assert await merged(shelf, 1, tmp_path) == (["{}"], [])


async def test_todo_is_what_is_wanted_and_has_no_result(shelf: Shelf) -> None:
    await shelve(shelf, b"2\toutput\t{}\n", b"4\terror\t{}\n", failed=1)
    results = await ResultMap.scan(shelf.store, shelf.adopted, lines=5)
    wanted = np.array([True, True, False, True, True])
    assert results.todo(wanted).tolist() == [0, 4]
    assert (results.lines(Kind.OUTPUT), results.lines(Kind.ERROR)) == (1, 1)


@pytest.mark.parametrize(
    ("line", "bytes_more", "failed", "complaint"),
    [
        (b"1\toutput\t{}\n", 5, 0, r"has 12 bytes.*adopted were 17"),
        (b"1\toutput\t{}\n", 0, 1, r"1 output and 0 error lines; adopted were 12, 0 and 1"),
        (b"1\toutput\t{", 0, 0, r"where a result"),
        (b"6\toutput\t{}\n", 0, 0, "where a result of one of 5 lines should be"),
        (b"0\toutput\t{}\n", 0, 0, "where a result of one of 5 lines should be"),
        (b"1\toutptu\t{}\n", 0, 0, "where a result"),
        (b"<Error>NoSuchKey</Error>", 0, 0, "where a result"),
    ],
)
async def test_a_truncated_or_foreign_segment_is_an_error_that_names_it(
    shelf: Shelf, line: bytes, bytes_more: int, failed: int, complaint: str
) -> None:
    await shelve(shelf, line, bytes_more=bytes_more, failed=failed)
    with pytest.raises(SegmentCorrupt, match=rf"^segments/1-0\.tsv .*{complaint}"):
        await ResultMap.scan(shelf.store, shelf.adopted, lines=5)


@dataclass
class _OneObject:
    """A store with one object that comes in chunks of a given size."""

    data: bytes
    chunk: int

    async def get_stream(self, key: str, *, start: int = 0, end: int | None = None):
        for at in range(0, len(self.data), self.chunk):
            yield self.data[at : at + self.chunk]


@given(st.permutations(range(6)), st.integers(1, 40))
def test_the_map_is_the_same_however_the_bytes_are_cut(order: list[int], chunk: int) -> None:
    lines = [b'%d\toutput\t{"n":"%s"}\n' % (n + 1, b"\xc3\xa9\t" * n) for n in order]
    data = b"".join(lines)
    info = SegmentInfo(1, "segments/1-1.tsv", len(data), 6, 0, {})
    results = asyncio.run(ResultMap.scan(_OneObject(data, chunk), [info], lines=6))
    for line in range(6):
        start = int(results.offset[line])
        found = data[start : start + int(results.length[line])]
        assert found == b'{"n":"%s"}' % (b"\xc3\xa9\t" * line)


async def test_a_long_file_comes_in_pieces_of_bounded_size(shelf: Shelf, tmp_path: Path) -> None:
    line = b'{"x":"' + b"y" * 300_000 + b'"}'
    await shelve(shelf, *(b"%d\toutput\t%b\n" % (n + 1, line) for n in range(12)))
    with (tmp_path / "copy").open("wb") as file:
        results = await ResultMap.scan(shelf.store, shelf.adopted, lines=12, copy=file)
    pieces = [len(p) async for p in merge(Kind.OUTPUT, results, tmp_path / "copy")]
    assert sum(pieces) == 12 * (len(line) + 1)
    assert max(pieces) < 2**20 + len(line) + 1


async def test_fifty_thousand_lines_are_mapped_in_seconds(shelf: Shelf) -> None:
    for part in range(5):
        await shelve(shelf, *(b"%d\toutput\t{}\n" % (part * 10_000 + n + 1) for n in range(10_000)))
    began = time.monotonic()
    results = await ResultMap.scan(shelf.store, shelf.adopted, lines=50_000)
    assert results.lines(Kind.OUTPUT) == 50_000
    assert time.monotonic() - began < 5.0
