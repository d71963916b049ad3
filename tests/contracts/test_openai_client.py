"""The official `openai` package against the API over a real socket, as far as no engine is needed."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from httpx2 import Request

from orchestrator import clock
from orchestrator.batches.model import Batch
from orchestrator.batches.states import BatchStatus
from tests.api.lines import jsonl
from tests.contracts.conftest import ServedYard

pytestmark = pytest.mark.server


@pytest.fixture
def requests() -> list[Request]:
    """Everything that the client has sent."""
    return []


@pytest.fixture
def client(yard: ServedYard, requests: list[Request]) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(event_hooks={"request": [requests.append]}, trust_env=False)
    with openai.OpenAI(base_url=f"{yard.url}/v1", api_key=yard.key, http_client=http) as client:
        yield client


def create_batch(client: openai.OpenAI, **given: Any) -> openai.types.Batch:
    file = client.files.create(file=("in.jsonl", jsonl(3)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **given
    )


def test_the_models_are_listed_and_found(client: openai.OpenAI) -> None:
    (model,) = client.models.list()
    assert (model.id, model.object) == ("yard-smoke", "model")
    assert client.models.retrieve("yard-smoke") == model
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("ft:llama:org_1/my-lora")
    assert refused.value.code == "model_not_found"


def test_a_file_goes_up_is_waited_for_and_comes_back(client: openai.OpenAI, tmp_path: Path) -> None:
    content = jsonl(50)
    (tmp_path / "in.jsonl").write_bytes(content)
    file = client.files.create(
        file=tmp_path / "in.jsonl",
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (file.object, file.filename, file.bytes) == ("file", "in.jsonl", len(content))
    assert file.expires_at == file.created_at + 3600
    assert file._request_id
    assert file._request_id.startswith("req_")
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert client.files.content(file.id).read() == content
    with client.files.with_streaming_response.content(file.id) as streamed:
        assert b"".join(streamed.iter_bytes(100)) == content
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError) as refused:
        client.files.content(file.id)
    assert refused.value.param == "id"


def test_a_file_from_memory_without_a_name_is_told_what_it_lacks(client: openai.OpenAI) -> None:
    """The SDK calls raw bytes `upload`."""
    with pytest.raises(openai.BadRequestError, match=r"Must be \.jsonl"):
        client.files.create(file=jsonl(1), purpose="batch")


def test_files_and_batches_are_iterated_over_page_by_page(
    client: openai.OpenAI, requests: list[Request]
) -> None:
    made = [create_batch(client).id for _ in range(5)][::-1]
    requests.clear()
    assert [batch.id for batch in client.batches.list(limit=2)] == made
    assert len(requests) == 3
    assert len(list(client.files.list(limit=2, purpose="batch", order="asc"))) == 5


def test_a_batch_is_created_seen_and_cancelled(client: openai.OpenAI) -> None:
    batch = create_batch(
        client,
        metadata={"team": "search"},
        output_expires_after={"anchor": "created_at", "seconds": 7200},
        extra_body={"tokenyard": {"on_invalid_line": "skip"}},
        extra_headers={"Idempotency-Key": "once"},
    )
    assert isinstance(batch, openai.types.Batch)
    assert (batch.status, batch.metadata) == ("validating", {"team": "search"})
    assert batch.request_counts
    assert batch.request_counts.total == 0
    assert batch.usage
    assert batch.usage.output_tokens_details.reasoning_tokens == 0
    assert batch.model_extra
    assert batch.model_extra["on_invalid_line"] == "skip"
    assert batch.model_extra["progress"]["lines_done"] == 0
    assert client.batches.retrieve(batch.id) == batch
    assert client.batches.cancel(batch.id).status == "cancelling"


def test_a_refused_batch_carries_its_errors_as_the_sdk_reads_them(
    client: openai.OpenAI, yard: ServedYard
) -> None:
    batch = create_batch(client)
    problem = {"code": "invalid_url", "line": 2, "message": "no", "param": "url", "path": "$.url"}
    with yard.database.transaction() as tx:
        row = tx.get_one(Batch, batch.id)
        row.status, row.errors, row.failed_at = BatchStatus.FAILED, [problem], clock.now()
    failed = client.batches.retrieve(batch.id)
    assert failed.failed_at
    assert failed.errors
    assert failed.errors.data
    assert (failed.errors.data[0].line, failed.errors.data[0].code) == (2, "invalid_url")


def test_a_conflict_is_sent_once(client: openai.OpenAI, yard: ServedYard, requests: list[Request]) -> None:
    """The SDK would send every 409 three times; `x-should-retry: false` stops it."""
    batch = create_batch(client)
    with yard.database.transaction() as tx:
        tx.get_one(Batch, batch.id).status = BatchStatus.EXPIRED
    requests.clear()
    with pytest.raises(openai.ConflictError) as refused:
        client.batches.cancel(batch.id)
    assert refused.value.body == {
        "message": "Cannot cancel a batch with status 'expired'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert refused.value.request_id
    assert len(requests) == 1


def test_errors_arrive_as_the_sdk_s_own_exceptions(client: openai.OpenAI, yard: ServedYard) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(
            input_file_id="file-x", endpoint="/v1/chat/completions", completion_window="24h"
        )
    assert (refused.value.type, refused.value.param) == ("invalid_request_error", "input_file_id")
    with (
        client.with_options(api_key="wrong") as stranger,
        pytest.raises(openai.AuthenticationError) as unknown,
    ):
        stranger.batches.list()
    assert unknown.value.code == "invalid_api_key"


@pytest.mark.parametrize("from_disk", [True, False])
def test_a_large_file_is_sent_in_chunks(client: openai.OpenAI, tmp_path: Path, from_disk: bool) -> None:
    content = jsonl(400)
    path = tmp_path / "big.jsonl"
    path.write_bytes(content)
    source: dict[str, Any] = (
        {"file": path} if from_disk else {"file": content, "filename": "big.jsonl", "bytes": len(content)}
    )
    upload = client.uploads.upload_file_chunked(
        **source, mime_type="application/jsonl", purpose="batch", part_size=10_000
    )
    assert upload.status == "completed"
    assert upload.file
    assert (upload.file.filename, upload.file.bytes) == ("big.jsonl", len(content))
    assert client.files.content(upload.file.id).read() == content


def test_an_upload_is_made_of_parts_by_hand_and_cancelled(client: openai.OpenAI) -> None:
    upload = client.uploads.create(
        bytes=6, filename="x.bin", mime_type="application/octet-stream", purpose="user_data"
    )
    part = client.uploads.parts.create(upload.id, data=io.BytesIO(b"abc"))
    assert (part.object, part.upload_id) == ("upload.part", upload.id)
    assert client.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        client.uploads.complete(upload.id, part_ids=[part.id])


async def test_the_asynchronous_client_speaks_the_same(yard: ServedYard) -> None:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(base_url=f"{yard.url}/v1", api_key=yard.key, http_client=http) as client:
        file = await client.files.create(file=("in.jsonl", jsonl(2)), purpose="batch")
        seen = [found.id async for found in client.files.list()]
        assert seen == [file.id]
        content = await client.files.content(file.id)
        assert [json.loads(line)["custom_id"] for line in content.text.splitlines()] == [
            "request-1",
            "request-2",
        ]
