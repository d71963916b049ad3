"""The official `groq` package, which asks under /openai/v1, as far as no engine is needed."""

from collections.abc import Iterator
from pathlib import Path

import groq
import httpx
import pytest

from tests.api.lines import jsonl
from tests.contracts.conftest import ServedYard

pytestmark = pytest.mark.server


@pytest.fixture
def client(yard: ServedYard) -> Iterator[groq.Groq]:
    http = groq.DefaultHttpxClient(trust_env=False)
    with groq.Groq(base_url=yard.url, api_key=yard.key, http_client=http) as client:
        yield client


def test_a_file_goes_up_and_comes_back(client: groq.Groq, tmp_path: Path) -> None:
    content = jsonl(10)
    (tmp_path / "in.jsonl").write_bytes(content)
    file = client.files.create(file=tmp_path / "in.jsonl", purpose="batch")
    assert file.id
    assert (file.object, file.bytes, file.purpose) == ("file", len(content), "batch")
    assert client.files.content(file.id).read() == content
    assert client.files.info(file.id).id == file.id
    listed = client.files.list().data
    assert listed
    assert [found.id for found in listed] == [file.id]
    assert client.files.delete(file.id).deleted


def test_a_batch_of_a_week_is_created_listed_and_cancelled(client: groq.Groq) -> None:
    file = client.files.create(file=("in.jsonl", jsonl(3)), purpose="batch")
    assert file.id
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="7d"
    )
    assert (batch.status, batch.completion_window) == ("validating", "7d")
    assert batch.expires_at == batch.created_at + 7 * 24 * 3600
    assert client.batches.retrieve(batch.id).id == batch.id
    assert [found.id for found in client.batches.list().data] == [batch.id]
    assert client.batches.cancel(batch.id).status == "cancelling"


def test_the_models_are_listed_and_found(client: groq.Groq) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.model_extra and model.model_extra["context_window"]) == (
        "yard-smoke",
        2048,
    )
    assert client.models.retrieve("yard-smoke").id == "yard-smoke"


def test_errors_carry_the_envelope(client: groq.Groq) -> None:
    with pytest.raises(groq.NotFoundError) as refused:
        client.batches.retrieve("batch_unknown")
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["type"] == "invalid_request_error"


def test_lists_are_paged_by_groq_s_cursor(client: groq.Groq, yard: ServedYard) -> None:
    for _ in range(3):
        client.files.create(file=("in.jsonl", jsonl(1)), purpose="batch")
    url, seen, cursor = f"{yard.url}/openai/v1/files", [], None
    with httpx.Client(headers={"authorization": f"Bearer {yard.key}"}, trust_env=False) as http:
        while True:
            query = {"limit": 1} | ({"cursor": cursor} if cursor else {})
            page = http.get(url, params=query).json()
            seen += [file["id"] for file in page["data"]]
            cursor = page["paging"]["next_cursor"]
            if cursor is None:
                break
    assert len(seen) == len(set(seen)) == 3
