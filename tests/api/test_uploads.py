"""Uploads in parts: what is completed is what was announced, in the order given."""

import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlmodel import col, func, select

from orchestrator import clock
from orchestrator.database.session import Database
from orchestrator.uploads.model import Upload, UploadPart
from tests.api.conftest import NOTHING, Customer, Look
from tests.api.lines import jsonl
from tests.serving import serving


def create(customer: Customer, content: bytes, **body: Any) -> Response:
    announced = {
        "bytes": len(content),
        "filename": "../big.jsonl",
        "mime_type": "application/jsonl",
        "purpose": "batch",
    }
    return customer.post("/v1/uploads", json=announced | body)


def send(customer: Customer, upload_id: str, content: bytes) -> Response:
    return customer.post(f"/v1/uploads/{upload_id}/parts", files={"data": ("upload", content, "text/plain")})


def complete(customer: Customer, upload_id: str, part_ids: list[str], **body: Any) -> Response:
    return customer.post(f"/v1/uploads/{upload_id}/complete", json={"part_ids": part_ids} | body)


def test_parts_become_the_file_in_the_order_given(customer: Customer, remains: Look) -> None:
    content = jsonl(30)
    thirds = [content[:700], content[700:1500], content[1500:]]
    upload = create(customer, content).json()
    assert (upload["object"], upload["status"], upload["file"]) == ("upload", "pending", None)
    assert upload["expires_at"] - upload["created_at"] == 3600
    sent = {n: send(customer, upload["id"], thirds[n]).json()["id"] for n in (2, 0, 1)}
    done = complete(
        customer, upload["id"], [sent[0], sent[1], sent[2]], md5=hashlib.md5(content).hexdigest()
    ).json()
    assert done["status"] == "completed"
    file = done["file"]
    assert (file["filename"], file["bytes"]) == ("big.jsonl", len(content))
    assert file["validation"]["lines"] == 30
    assert customer.get(f"/v1/files/{file['id']}/content").content == content
    assert len(remains(customer).objects) == 1  # the parts are gone


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"purpose": "assistants"}, 400, "purpose"),
        ({"filename": "big.txt"}, 400, None),
        ({"bytes": 0}, 400, "bytes"),
        ({"bytes": 3_000_001}, 413, "bytes"),
        ({"expires_after": {"anchor": "created_at", "seconds": 5}}, 400, "expires_after.seconds"),
    ],
)
def test_an_upload_that_cannot_be_is_refused(
    customer: Customer, body: dict[str, Any], status: int, param: str | None
) -> None:
    answer = create(customer, b"x", **body)
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param


def test_what_was_completed_must_be_what_was_announced(customer: Customer, remains: Look) -> None:
    content = jsonl(2)
    upload_id = create(customer, content).json()["id"]
    half, rest = (send(customer, upload_id, piece).json()["id"] for piece in (content[:50], content[50:]))
    for part_ids, words in (
        ([half], f"announced with {len(content)} bytes"),
        ([half, half], "more than once"),
        ([half, "part_unknown"], "no part 'part_unknown'"),
    ):
        answer = complete(customer, upload_id, part_ids)
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]
        assert answer.json()["error"]["param"] == "part_ids"
    wrong_order = complete(customer, upload_id, [rest, half], md5=hashlib.md5(content).hexdigest())
    assert (wrong_order.status_code, wrong_order.json()["error"]["param"]) == (400, "md5")
    assert remains(customer).files == []
    assert len(remains(customer).objects) == 2
    assert complete(customer, upload_id, [half, rest]).status_code == 200


def test_parts_beyond_what_was_announced_are_refused_and_not_kept(customer: Customer, remains: Look) -> None:
    upload_id = create(customer, b"x" * 10).json()["id"]
    refused = send(customer, upload_id, b"x" * 11)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "data")
    assert remains(customer) == NOTHING


@pytest.mark.parametrize("content", [b"", None])
def test_a_part_must_hold_something(customer: Customer, content: bytes | None) -> None:
    upload_id = create(customer, b"x").json()["id"]
    if content is None:
        answer = customer.post(f"/v1/uploads/{upload_id}/parts", data={"data": "text"}, files={})
    else:
        answer = send(customer, upload_id, content)
    assert answer.status_code == 400


def test_a_cancelled_upload_is_over_and_its_parts_are_gone(customer: Customer, remains: Look) -> None:
    upload_id = create(customer, b"xy").json()["id"]
    part_id = send(customer, upload_id, b"xy").json()["id"]
    for _ in range(2):
        answer = customer.post(f"/v1/uploads/{upload_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert remains(customer) == NOTHING
    for late in (send(customer, upload_id, b"x"), complete(customer, upload_id, [part_id])):
        assert late.status_code == 409
        assert "status 'cancelled'" in late.json()["error"]["message"]


def test_a_completed_upload_takes_nothing_more(customer: Customer) -> None:
    content = jsonl(1)
    upload_id = create(customer, content).json()["id"]
    part_id = send(customer, upload_id, content).json()["id"]
    assert complete(customer, upload_id, [part_id]).status_code == 200
    assert send(customer, upload_id, b"x").status_code == 409
    assert complete(customer, upload_id, [part_id]).status_code == 409
    assert customer.post(f"/v1/uploads/{upload_id}/cancel").status_code == 409


def test_an_upload_is_over_after_its_hour(customer: Customer, database: Database) -> None:
    upload_id = create(customer, b"x").json()["id"]
    with database.transaction() as tx:
        tx.get_one(Upload, upload_id).expires_at = clock.now() - timedelta(seconds=1)
    late = send(customer, upload_id, b"x")
    assert late.status_code == 409
    assert "status 'expired'" in late.json()["error"]["message"]


def test_of_completions_at_once_one_makes_the_file(
    customer: Customer, remains: Look, database: Database
) -> None:
    content = jsonl(3)
    upload_id = create(customer, content).json()["id"]
    part_id = send(customer, upload_id, content).json()["id"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: complete(customer, upload_id, [part_id]), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(remains(customer).files) == 1
    assert len(remains(customer).objects) == 1


def test_parts_at_once_are_bounded_by_the_tier(app: FastAPI, customer: Customer) -> None:
    """Two parts wait for the server's `100 Continue`, which it sends once it begins to read them; the
    third is turned away until they have ended."""
    upload_id = create(customer, b"xxx").json()["id"]
    form = b'--b\r\nContent-Disposition: form-data; name="data"; filename="p"\r\n\r\nx\r\n--b--\r\n'
    head = (
        f"POST /v1/uploads/{upload_id}/parts HTTP/1.1\r\nhost: yard\r\n"
        f"authorization: Bearer {customer.key}\r\nexpect: 100-continue\r\n"
        f"content-type: multipart/form-data; boundary=b\r\ncontent-length: {len(form)}\r\n\r\n"
    ).encode()

    with serving(app) as port, ExitStack() as stack:

        def begin() -> socket.socket:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            client.sendall(head)
            return client

        def status(client: socket.socket) -> bytes:
            return client.recv(65_536).split()[1]

        first, second = begin(), begin()
        assert [status(first), status(second)] == [b"100", b"100"]
        assert status(begin()) == b"429"
        first.sendall(form)
        assert status(first) == b"200"
        third = begin()
        assert status(third) == b"100"
        for client in (second, third):
            client.sendall(form)
            assert status(client) == b"200"


def test_a_part_of_another_upload_is_unknown_here(customer: Customer, database: Database) -> None:
    mine, other = (create(customer, b"x").json()["id"] for _ in range(2))
    foreign = send(customer, other, b"x").json()["id"]
    assert complete(customer, mine, [foreign]).status_code == 400
    with database.read() as tx:
        rows = select(func.count()).select_from(UploadPart)
        assert tx.exec(rows.where(col(UploadPart.upload_id) == other)).one() == 1
