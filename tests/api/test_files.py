"""Files: what is stored is what comes back, and what is refused leaves nothing."""

import json
from datetime import timedelta
from typing import Any

import pytest

from orchestrator import clock
from orchestrator.batches.model import Batch
from orchestrator.batches.states import BatchStatus
from orchestrator.database.session import Database
from orchestrator.files.model import File
from tests.api.conftest import NOTHING, Customer, Look
from tests.api.lines import jsonl


def test_an_uploaded_file_comes_back_byte_by_byte(customer: Customer) -> None:
    content = jsonl(20)
    uploaded = customer.upload(content).json()
    assert uploaded["object"] == "file"
    assert uploaded["bytes"] == len(content)
    assert (uploaded["filename"], uploaded["purpose"]) == ("in.jsonl", "batch")
    assert uploaded["status"] == "processed"
    assert customer.get(f"/v1/files/{uploaded['id']}").json() == uploaded
    answer = customer.get(f"/v1/files/{uploaded['id']}/content")
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-type"] == "application/jsonl"


def test_a_range_of_a_file_can_be_read(customer: Customer) -> None:
    content = jsonl(5)
    path = f"/v1/files/{customer.file_id(content)}/content"
    for asked, expected in (
        ("bytes=10-19", content[10:20]),
        ("bytes=10-", content[10:]),
        ("bytes=-7", content[-7:]),
    ):
        answer = customer.get(path, headers={"range": asked})
        assert (answer.status_code, answer.content) == (206, expected)
        assert answer.headers["content-range"].endswith(f"/{len(content)}")
    for passed_over in ("bytes=99999999-", "bytes=5-2", "lines=1-2", "bytes=-"):
        answer = customer.get(path, headers={"range": passed_over})
        assert (answer.status_code, answer.content) == (200, content)


def test_a_batch_file_is_checked_line_by_line_while_it_arrives(customer: Customer) -> None:
    content = jsonl(2) + b"not json\n" + jsonl(1)
    seen = customer.upload(content).json()["validation"]
    assert (seen["lines"], seen["bad_lines"]) == (4, 2)
    assert [(p["line"], p["code"]) for p in seen["first_problems"]] == [
        (3, "invalid_json_line"),
        (4, "duplicate_custom_id"),
    ]
    assert seen["models"] == {"yard-smoke": 2}


def test_other_files_are_not_looked_into(customer: Customer) -> None:
    answer = customer.upload(b"anything", filename="notes.txt", purpose="user_data")
    assert answer.json()["validation"] is None
    content = customer.get(f"/v1/files/{answer.json()['id']}/content")
    assert content.headers["content-type"] == "application/octet-stream"


def test_a_batch_file_expires_with_its_tier_and_others_never(
    customer: Customer, free_customer: Customer
) -> None:
    for someone, days in ((customer, 30), (free_customer, 7)):
        file = someone.upload().json()
        assert file["expires_at"] - file["created_at"] == days * 24 * 3600
    assert customer.upload(b"x", purpose="user_data").json()["expires_at"] is None


def test_a_file_expires_when_its_owner_says(customer: Customer, database: Database) -> None:
    expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = customer.upload(**expiry).json()
    assert file["expires_at"] - file["created_at"] == 3600
    with database.transaction() as tx:
        tx.get_one(File, file["id"]).expires_at = clock.now() - timedelta(seconds=1)
    unknown = customer.get("/v1/files/file-unknown")
    for path in (f"/v1/files/{file['id']}", f"/v1/files/{file['id']}/content"):
        answer = customer.get(path)
        assert answer.status_code == 404
        assert answer.text == unknown.text.replace("file-unknown", file["id"])
    assert customer.get("/v1/files").json()["data"] == []
    assert customer.create_batch(file["id"]).status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_after[seconds]": "3600"},
        {"expires_after[anchor]": "created_at"},
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"},
        {"expires_after[anchor]": "last_use", "expires_after[seconds]": "3600"},
    ],
)
def test_an_impossible_expiry_is_a_400(customer: Customer, fields: dict[str, str], remains: Look) -> None:
    answer = customer.upload(**fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("expires_after.")
    assert remains(customer) == NOTHING


def test_a_deleted_file_is_gone_with_its_bytes(customer: Customer, remains: Look) -> None:
    file_id = customer.file_id()
    assert len(remains(customer).objects) == 1
    assert customer.delete(f"/v1/files/{file_id}").json() == {
        "id": file_id,
        "object": "file",
        "deleted": True,
    }
    assert remains(customer).objects == []
    for answer in (
        customer.get(f"/v1/files/{file_id}"),
        customer.get(f"/v1/files/{file_id}/content"),
        customer.delete(f"/v1/files/{file_id}"),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"No such File object: {file_id}"


def test_the_input_of_a_live_batch_cannot_be_deleted(customer: Customer, database: Database) -> None:
    file_id = customer.file_id()
    batch_id = customer.batch_id(file_id)
    refused = customer.delete(f"/v1/files/{file_id}")
    assert refused.status_code == 409
    assert batch_id in refused.json()["error"]["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert customer.get(f"/v1/files/{file_id}/content").status_code == 200
    with database.transaction() as tx:
        tx.get_one(Batch, batch_id).status = BatchStatus.CANCELLED
    assert customer.delete(f"/v1/files/{file_id}").status_code == 200


def test_files_are_listed_page_by_page_in_either_order(customer: Customer) -> None:
    made = [customer.file_id() for _ in range(5)]
    for order, expected in (("desc", made[::-1]), ("asc", made)):
        seen: list[str] = []
        query = {"limit": 2, "order": order}
        while True:
            page = customer.get("/v1/files", params=query).json()
            seen += [file["id"] for file in page["data"]]
            assert (page["first_id"], page["last_id"]) == (
                page["data"][0]["id"],
                page["data"][-1]["id"],
            )
            if not page["has_more"]:
                assert page["paging"]["next_cursor"] is None
                break
            query["after"] = page["paging"]["next_cursor"]
        assert seen == expected


def test_files_are_listed_by_purpose(customer: Customer) -> None:
    customer.file_id()
    notes = customer.file_id(purpose="user_data")
    page = customer.get("/v1/files", params={"purpose": "user_data"}).json()
    assert [file["id"] for file in page["data"]] == [notes]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"after": "file-unknown"}, "after"),
        ({"cursor": "file-unknown"}, "after"),
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"order": "sideways"}, "order"),
        ({"purpose": "vision"}, "purpose"),
    ],
)
def test_a_list_that_cannot_be_is_a_400(customer: Customer, query: dict[str, Any], param: str) -> None:
    answer = customer.get("/v1/files", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_the_same_files_are_under_both_prefixes(customer: Customer) -> None:
    file_id = customer.file_id()
    assert customer.get(f"/openai/v1/files/{file_id}").json() == json.loads(
        customer.get(f"/v1/files/{file_id}").text
    )
