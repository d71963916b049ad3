"""Batches as a customer sees them, up to where an engine is needed."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, func, select

from orchestrator import clock
from orchestrator.batches.model import Batch
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.jobs.model import Job, JobStatus
from tests.api.conftest import Customer
from tests.api.lines import jsonl, line


def count_batches(database: Database, customer: Customer) -> int:
    with database.read() as tx:
        theirs = col(Batch.organization_id) == customer.organization_id
        return tx.exec(select(func.count()).select_from(Batch).where(theirs)).one()


def change(database: Database, batch_id: str, **columns: Any) -> None:
    """Put a batch where its run would have brought it."""
    with database.transaction() as tx:
        batch = tx.get_one(Batch, batch_id)
        for name, value in columns.items():
            setattr(batch, name, value)


def test_a_new_batch_has_openai_s_shape_and_our_additions(customer: Customer) -> None:
    file_id = customer.file_id()
    batch = customer.create_batch(file_id, metadata={"team": "search"}).json()
    moments = {name: batch[name] for name in batch if name.endswith("_at") and batch[name] is not None}
    assert set(moments) == {"created_at", "expires_at"}
    assert batch["expires_at"] - batch["created_at"] == 24 * 3600
    assert (batch["object"], batch["status"]) == ("batch", "validating")
    assert (batch["input_file_id"], batch["endpoint"]) == (file_id, "/v1/chat/completions")
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert batch["usage"]["total_tokens"] == 0
    assert batch["usage"]["input_tokens_details"] == {"cached_tokens": 0}
    assert batch["usage"]["output_tokens_details"] == {"reasoning_tokens": 0}
    assert batch["metadata"] == {"team": "search"}
    absent = ("model", "errors", "output_file_id", "error_file_id", "flow_run_url", "retry_of")
    assert [batch[name] for name in absent] == [None] * len(absent)
    assert batch["tier"] == "developer"
    assert batch["progress"]["lines_done"] == 0
    assert batch["cost"] == {"amount_micros": 0, "currency": "usd", "charged": False}


def test_a_new_batch_has_a_job_due_within_its_window(customer: Customer, database: Database) -> None:
    batch_id = customer.batch_id(completion_window="7d")
    with database.read() as tx:
        job = tx.exec(select(Job).where(Job.resource_id == batch_id)).one()
        batch = tx.get_one(Batch, batch_id)
    assert (job.status, job.priority) == (JobStatus.QUEUED, 20)
    assert job.deadline == batch.expires_at
    assert batch.expires_at - batch.created_at == timedelta(days=7)


def test_a_file_with_bad_lines_is_accepted_here(customer: Customer) -> None:
    assert customer.create_batch(customer.file_id(b"not json\n")).status_code == 200
    unknown_model = customer.file_id(jsonl(1, model="no-such-model"))
    assert customer.create_batch(unknown_model).status_code == 200


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"endpoint": "/v1/audio"}, "endpoint", "Supported values are: '/v1/chat/completions'"),
        ({"completion_window": "1h"}, "completion_window", "24h to 168h"),
        ({"completion_window": "8d"}, "completion_window", "24h to 168h"),
        ({"completion_window": "soon"}, "completion_window", "in hours (24h) or days (2d)"),
        ({"input_file_id": "file-unknown"}, "input_file_id", "does not exist"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "at most 16 pairs, found 17"),
        ({"metadata": {"k" * 65: "x"}}, f"metadata.{'k' * 64}", "up to 64 characters"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "up to 512 characters"),
        ({"tokenyard": {"on_invalid_line": "guess"}}, "tokenyard.on_invalid_line", "'fail'"),
    ],
)
def test_a_batch_that_cannot_be_is_a_400_and_leaves_nothing(
    customer: Customer, database: Database, body: dict[str, Any], param: str, words: str
) -> None:
    answer = customer.create_batch(**body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert words in answer.json()["error"]["message"]
    assert count_batches(database, customer) == 0


def test_the_input_must_have_been_uploaded_for_a_batch(customer: Customer) -> None:
    answer = customer.create_batch(customer.file_id(purpose="user_data"))
    assert answer.status_code == 400
    assert "purpose 'user_data'" in answer.json()["error"]["message"]


def test_a_model_of_another_tier_is_a_403_that_names_the_tier(
    free_customer: Customer, database: Database
) -> None:
    answer = free_customer.create_batch(free_customer.file_id(jsonl(1, model="org/large")))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "model_not_permitted")
    assert "The Developer tier (Pay per token; org/large at $0.50 input" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert count_batches(database, free_customer) == 0


def test_a_batch_of_more_lines_than_the_tier_allows_is_a_400(free_customer: Customer) -> None:
    answer = free_customer.create_batch(free_customer.file_id(jsonl(6)))
    assert answer.status_code == 400
    assert "Limit 5, Used 0, Requested 6" in answer.json()["error"]["message"]


def test_live_batches_are_bounded_until_one_ends(free_customer: Customer, database: Database) -> None:
    first = free_customer.batch_id()
    refused = free_customer.create_batch()
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert "concurrent_batches" in refused.json()["error"]["message"]
    change(database, first, status=BatchStatus.CANCELLED)
    assert free_customer.create_batch().status_code == 200


def test_lines_are_bounded_for_a_day(free_customer: Customer, database: Database) -> None:
    for lines in (5, 3):
        ended = free_customer.batch_id(free_customer.file_id(jsonl(lines)))
        change(database, ended, status=BatchStatus.CANCELLED)
    refused = free_customer.create_batch(free_customer.file_id(jsonl(1)))
    assert refused.status_code == 429
    assert "Limit 8, Used 8, Requested 1" in refused.json()["error"]["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 24 * 3600
    change(database, ended, created_at=clock.now() - timedelta(days=1))
    assert free_customer.create_batch(free_customer.file_id(jsonl(1))).status_code == 200


def test_a_refused_file_uses_up_no_lines(free_customer: Customer, database: Database) -> None:
    for _ in range(3):
        refused = free_customer.batch_id(free_customer.file_id(jsonl(5)))
        change(database, refused, status=BatchStatus.FAILED)


def test_queued_tokens_are_bounded_by_model(customer: Customer) -> None:
    assert customer.create_batch(customer.file_id(jsonl(2, words=500))).status_code == 200
    same = customer.create_batch(customer.file_id(jsonl(2, words=500)))
    assert (same.status_code, same.json()["error"]["code"]) == (429, "token_limit_exceeded")
    other = customer.create_batch(customer.file_id(jsonl(2, words=500, model="org/large")))
    assert other.status_code == 200


def test_of_batches_created_at_once_no_more_than_the_limit_exist(
    free_customer: Customer, database: Database
) -> None:
    files = [free_customer.file_id() for _ in range(6)]
    codes: list[int] = []

    def create(file_id: str) -> None:
        codes.append(free_customer.create_batch(file_id).status_code)

    threads = [threading.Thread(target=create, args=(file_id,)) for file_id in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, 429, 429, 429, 429, 429]
    assert count_batches(database, free_customer) == 1


def test_the_same_idempotency_key_gives_the_same_batch(customer: Customer, database: Database) -> None:
    file_id = customer.file_id()
    by_header = {"headers": {"idempotency-key": "once"}}
    body = {"endpoint": "/v1/embeddings", "completion_window": "24h", "input_file_id": file_id}
    first = customer.post("/v1/batches", json=body, **by_header)
    again = customer.post("/v1/batches", json=body, **by_header)
    in_body = customer.post("/v1/batches", json=body | {"idempotency_key": "once"})
    assert first.json()["id"] == again.json()["id"] == in_body.json()["id"]
    other = customer.post("/v1/batches", json=body | {"metadata": {"a": "b"}}, **by_header)
    assert other.status_code == 409
    assert other.headers["x-should-retry"] == "false"
    assert first.json()["id"] in other.json()["error"]["message"]
    assert count_batches(database, customer) == 1


def test_of_calls_at_once_with_one_idempotency_key_one_makes_the_batch(
    customer: Customer, database: Database
) -> None:
    file_id = customer.file_id()
    seen: list[str] = []

    def create() -> None:
        seen.append(customer.batch_id(file_id, idempotency_key="at once"))

    threads = [threading.Thread(target=create) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 5
    assert len(set(seen)) == 1
    assert count_batches(database, customer) == 1


def test_a_cancelled_batch_is_cancelling_and_stays_so(customer: Customer) -> None:
    batch_id = customer.batch_id()
    first = customer.post(f"/v1/batches/{batch_id}/cancel")
    assert (first.status_code, first.json()["status"]) == (200, "cancelling")
    assert first.json()["cancelling_at"] is not None
    assert customer.post(f"/v1/batches/{batch_id}/cancel").json() == first.json()


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "finalizing"])
def test_what_has_ended_cannot_be_cancelled(customer: Customer, database: Database, status: str) -> None:
    batch_id = customer.batch_id()
    change(database, batch_id, status=BatchStatus(status), error_file_id="file-x")
    answer = customer.post(f"/v1/batches/{batch_id}/cancel")
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"] == {
        "message": f"Cannot cancel a batch with status '{status}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_a_retry_runs_the_same_file_for_the_lines_that_failed(customer: Customer, database: Database) -> None:
    old = customer.batch_id(metadata={"team": "search"}, completion_window="2d")
    early = customer.post(f"/v1/batches/{old}/retry")
    assert early.status_code == 409
    change(
        database,
        old,
        status=BatchStatus.CANCELLED,
        request_total=3,
        request_completed=1,
        request_failed=2,
        output_file_id="file-x",
    )
    new = customer.post(f"/v1/batches/{old}/retry").json()
    before = customer.get(f"/v1/batches/{old}").json()
    assert new["retry_of"] == old
    assert new["status"] == "validating"
    assert new["request_counts"]["total"] == 2
    for name in ("input_file_id", "endpoint", "completion_window", "metadata"):
        assert new[name] == before[name]


def test_a_retry_of_what_needs_none_or_cannot_have_one_is_a_400(
    customer: Customer, database: Database
) -> None:
    file_id = customer.file_id()
    old = customer.batch_id(file_id)
    done = {"status": BatchStatus.COMPLETED, "output_file_id": "file-x", "request_total": 3}
    change(database, old, **done, request_completed=3)
    nothing_left = customer.post(f"/v1/batches/{old}/retry")
    assert nothing_left.status_code == 400
    assert "every line succeeded" in nothing_left.json()["error"]["message"]
    change(database, old, request_completed=1)
    customer.delete(f"/v1/files/{file_id}")
    file_gone = customer.post(f"/v1/batches/{old}/retry")
    assert file_gone.status_code == 400
    assert file_id in file_gone.json()["error"]["message"]
    assert "was deleted" in file_gone.json()["error"]["message"]


def test_a_running_batch_shows_how_far_it_is(customer: Customer, database: Database) -> None:
    batch_id = customer.batch_id()
    change(
        database,
        batch_id,
        status=BatchStatus.IN_PROGRESS,
        request_total=100,
        request_completed=38,
        request_failed=2,
        rate={"lines_per_second": 4.0, "tokens_per_second": 90.5},
        waiting_for="the engine for yard-smoke, which is starting",
        flow_run_id="0f0e",
        usage={
            "a": {"input_tokens": 10, "output_tokens": 5, "cached_tokens": 4, "lines": 20},
            "b": {"input_tokens": 1, "output_tokens": 2, "reasoning_tokens": 1, "lines": 18},
        },
    )
    seen = customer.get(f"/v1/batches/{batch_id}").json()
    assert seen["progress"] == {
        "lines_done": 40,
        "lines_total": 100,
        "tokens": 18,
        "lines_per_second": 4.0,
        "tokens_per_second": 90.5,
        "eta_seconds": 15,
        "waiting_for": "the engine for yard-smoke, which is starting",
    }
    assert seen["usage"] == {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 18,
    }
    assert seen["flow_run_url"].endswith("/runs/flow-run/0f0e")


def test_a_refused_batch_shows_every_problem_it_kept(customer: Customer, database: Database) -> None:
    batch_id = customer.batch_id()
    problem = {"code": "invalid_url", "line": 2, "message": "no", "param": "url"}
    change(database, batch_id, status=BatchStatus.FAILED, errors=[problem])
    seen = customer.get(f"/v1/batches/{batch_id}").json()
    assert seen["errors"] == {"object": "list", "data": [problem]}


def test_batches_are_listed_page_by_page_by_either_cursor(customer: Customer) -> None:
    made = [customer.batch_id() for _ in range(5)][::-1]
    for cursor in ("after", "cursor"):
        first = customer.get("/v1/batches", params={"limit": 3}).json()
        rest = customer.get("/v1/batches", params={cursor: first["last_id"]}).json()
        assert (first["has_more"], rest["has_more"]) == (True, False)
        assert first["paging"]["next_cursor"] == first["last_id"]
        assert [batch["id"] for batch in first["data"] + rest["data"]] == made


def test_batches_are_listed_by_their_ids(customer: Customer, stranger: Customer) -> None:
    made = [customer.batch_id() for _ in range(3)]
    foreign = stranger.batch_id()
    asked = [made[0], made[2], foreign, "batch_unknown"]
    page = customer.get("/v1/batches", params={"id": asked}).json()
    assert [batch["id"] for batch in page["data"]] == [made[2], made[0]]
    too_many = customer.get("/v1/batches", params={"id": ["batch_x"] * 201})
    assert too_many.status_code == 400


@pytest.mark.parametrize("query", [{"after": "batch_unknown"}, {"limit": 0}, {"limit": 101}, {"cursor": "x"}])
def test_a_list_that_cannot_be_is_a_400(customer: Customer, query: dict[str, Any]) -> None:
    assert customer.get("/v1/batches", params=query).status_code == 400


def test_lines_of_different_models_and_endpoints_are_one_file(customer: Customer) -> None:
    mixed = line(1) + line(2, model="org/large")
    validation = customer.upload(mixed).json()["validation"]
    assert validation["models"] == {"yard-smoke": 1, "org/large": 1}
    assert customer.create_batch(customer.file_id(mixed)).status_code == 200
