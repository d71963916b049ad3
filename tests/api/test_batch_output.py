"""Results while they come: each line once, in the order stored, whatever the cursor."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator import clock
from orchestrator.batches.model import Batch, BatchSegment
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.settings import Settings
from orchestrator.storage import keys
from orchestrator.storage.local import LocalStore
from tests.api.conftest import Customer


@pytest.fixture
def adopt(customer: Customer, database: Database, settings: Settings) -> Any:
    """Store and adopt a segment of results, as a batch's driver does."""
    store = LocalStore(settings.absolute_home() / "store")

    def adopt(batch_id: str, attempt: int, sequence: int, names: Sequence[str]) -> None:
        key = keys.segment(customer.organization_id, batch_id, attempt, sequence)
        rows = [
            f'{number}\t{"error" if name.startswith("bad") else "output"}\t{{"id":"{name}"}}\n'
            for number, name in enumerate(names, 1)
        ]
        asyncio.run(store.put(key, "".join(rows).encode()))
        failed = sum(name.startswith("bad") for name in names)
        with database.transaction() as tx:
            tx.add(
                BatchSegment(
                    batch_id=batch_id,
                    attempt=attempt,
                    sequence=sequence,
                    key=key,
                    bytes=1,
                    completed=len(names) - failed,
                    failed=failed,
                    usage={},
                    adopted_at=clock.now(),
                )
            )

    return adopt


def result(*names: str) -> str:
    return "".join(f'{{"id":"{name}"}}\n' for name in names)


def test_before_the_first_result_the_output_is_empty(customer: Customer) -> None:
    answer = customer.get(f"/v1/batches/{customer.batch_id()}/output")
    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["x-last-line"] == "0"


def test_a_reader_misses_and_repeats_nothing_while_results_come(customer: Customer, adopt: Any) -> None:
    batch_id = customer.batch_id()
    seen, cursor = "", "0"
    for segment in (
        (1, 1, ["a", "b"]),
        (1, 2, ["bad-c"]),
        (2, 1, ["d", "e", "f"]),  # another attempt goes on
    ):
        adopt(batch_id, *segment)
        answer = customer.get(f"/v1/batches/{batch_id}/output", params={"after": cursor})
        seen, cursor = seen + answer.text, answer.headers["x-last-line"]
    assert seen == result("a", "b", "bad-c", "d", "e", "f")
    assert cursor == "6"


def test_every_cursor_gives_exactly_the_rest(customer: Customer, adopt: Any) -> None:
    batch_id = customer.batch_id()
    names = ["a", "b", "c", "d", "e", "f"]
    adopt(batch_id, 1, 1, names[:1])
    adopt(batch_id, 1, 2, names[1:4])
    adopt(batch_id, 2, 1, names[4:])
    for after in range(len(names) + 1):
        answer = customer.get(f"/v1/batches/{batch_id}/output", params={"after": after})
        assert answer.text == result(*names[after:])
        assert answer.headers["x-last-line"] == "6"
    beyond = customer.get(f"/v1/batches/{batch_id}/output", params={"after": 7})
    assert beyond.status_code == 400
    assert beyond.json()["error"]["param"] == "after"


def test_results_larger_than_what_the_store_reads_at_once_arrive_whole(
    customer: Customer, adopt: Any
) -> None:
    batch_id = customer.batch_id()
    names = [f"{number}-{'x' * 5_000}" for number in range(700)]
    adopt(batch_id, 1, 1, names)
    answer = customer.get(f"/v1/batches/{batch_id}/output", params={"after": 3})
    assert answer.text == result(*names[3:])


def test_once_the_segments_are_swept_the_answer_points_to_the_files(
    customer: Customer, database: Database, adopt: Any
) -> None:
    batch_id = customer.batch_id()
    adopt(batch_id, 1, 1, ["a"])
    with database.transaction() as tx:
        batch = tx.get_one(Batch, batch_id)
        batch.output_file_id, batch.status = "file-output", BatchStatus.COMPLETED
    assert customer.get(f"/v1/batches/{batch_id}/output").text == result("a")
    with database.transaction() as tx:
        tx.delete(tx.get_one(BatchSegment, (batch_id, 1, 1)))
    swept = customer.get(f"/v1/batches/{batch_id}/output")
    assert swept.status_code == 409
    assert "file-output" in swept.json()["error"]["message"]
