"""Uploads as clients get them wrong: each a clear refusal, and nothing is left."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from api.multipart import ENVELOPE_BYTES_MAX
from orchestrator.files.service import base_name
from orchestrator.settings import Settings
from tests.api.conftest import NOTHING, Customer, Look
from tests.api.lines import jsonl
from tests.serving import serving

GONE_SECONDS = 10.0
# What two sockets, the server's reader and our own writes may hold beyond what was read.
IN_FLIGHT_BYTES_MAX = 12_000_000

BOUNDARY = "x-boundary-x"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    quoted = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{quoted}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def test_the_purpose_may_follow_the_file(customer: Customer) -> None:
    form = part("file", jsonl(3), "in.jsonl") + part("purpose", b"batch") + END
    answer = customer.post("/v1/files", content=form, headers=FORM)
    assert answer.status_code == 200
    assert answer.json()["validation"]["lines"] == 3


@pytest.mark.parametrize(
    ("form", "param"),
    [
        (part("file", b"x", "in.jsonl") + END, "purpose"),
        (part("purpose", b"batch") + END, "file"),
        (part("purpose", b"batch") + part("file", b"x") + END, "file"),
        (part("purpose", b"batch") + part("file", b"", "in.jsonl") + END, "file"),
        (part("purpose", b"assistants") + part("file", b"x", "in.jsonl") + END, "purpose"),
        (part("purpose", b"batch_output") + part("file", b"x", "in.jsonl") + END, "purpose"),
        (part("purpose", b"b" * 9_000) + END, "purpose"),
        (part("shoe", b"42") + part("file", b"x", "in.jsonl") + END, "shoe"),
        (part("file", b"x", "a.jsonl") + part("file", b"y", "b.jsonl") + END, "file"),
    ],
)
def test_a_form_that_lacks_or_misnames_something_is_a_400(
    customer: Customer, remains: Look, form: bytes, param: str
) -> None:
    answer = customer.post("/v1/files", content=form, headers=FORM)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert remains(customer) == NOTHING


@pytest.mark.parametrize("order", ["purpose first", "file first"])
def test_a_batch_file_must_be_called_jsonl(customer: Customer, remains: Look, order: str) -> None:
    halves = [part("purpose", b"batch"), part("file", jsonl(1), "in.txt")]
    form = b"".join(halves if order == "purpose first" else halves[::-1]) + END
    answer = customer.post("/v1/files", content=form, headers=FORM)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "Invalid file format for Batch API. Must be .jsonl"
    assert remains(customer) == NOTHING


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"content-type": "application/json"}, b"{}"),
        ({}, b"purpose=batch"),
        ({"content-type": "multipart/form-data"}, b"--x\r\n"),
        ({"content-type": f"multipart/form-data; boundary={'x' * 300}"}, b"--x\r\n"),
        (FORM, b"this is no form at all"),
        (FORM, b""),
        (FORM, part("purpose", b"batch")),
        (FORM, (part("purpose", b"batch") + part("file", jsonl(3), "in.jsonl"))),
        (FORM, (part("purpose", b"batch") + part("file", jsonl(3), "in.jsonl"))[:-40]),
        (FORM, part("purpose", b"batch") * 20 + END),
    ],
)
def test_a_body_that_is_no_whole_form_is_a_400(
    customer: Customer, remains: Look, headers: dict[str, str], content: bytes
) -> None:
    answer = customer.post("/v1/files", content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert remains(customer) == NOTHING


def test_a_file_over_the_limit_is_a_413(free_customer: Customer, remains: Look) -> None:
    limit = 4_000
    fits = jsonl(1, words=600)
    fits = fits[:-1] + b" " * (limit - len(fits)) + b"\n"
    refused = free_customer.upload(fits + b"\n")
    assert refused.status_code == 413
    error = refused.json()["error"]
    assert "file_bytes_max" in error["message"]
    assert "Developer" in error["message"]
    assert remains(free_customer) == NOTHING
    assert free_customer.upload(fits).status_code == 200


def test_a_large_announcement_is_refused_before_a_byte_is_read(app: FastAPI, free_customer: Customer) -> None:
    with serving(app) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(_head(free_customer, "content-length: 900000000"))
        answer = _read_all(client)
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b"connection: close" in answer


def test_an_endless_upload_is_cut_off_soon_after_the_limit(
    app: FastAPI, customer: Customer, remains: Look
) -> None:
    limit = 2_000_000
    start = part("purpose", b"batch") + part("file", b"", "in.jsonl")[:-2]
    block = b"x" * 65_536
    sent = 0
    with serving(app) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(_head(customer, "transfer-encoding: chunked"))
        try:
            client.sendall(_chunk(start))
            while sent < 100 * limit:
                client.sendall(_chunk(block))
                sent += len(block)
        except (BrokenPipeError, ConnectionResetError):
            pass  # hung up on, as it should be
    assert sent < limit + ENVELOPE_BYTES_MAX + IN_FLIGHT_BYTES_MAX
    assert remains(customer) == NOTHING


def test_a_client_that_hangs_up_leaves_nothing(
    app: FastAPI, settings: Settings, customer: Customer, remains: Look
) -> None:
    def drafts() -> list[Path]:
        return list((settings.absolute_home() / "store" / ".unfinished").iterdir())

    half = part("purpose", b"batch") + part("file", jsonl(1_000, words=300), "in.jsonl")[:1_500_000]
    with serving(app) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(_head(customer, "content-length: 1900000") + half)
            _wait_until(drafts, "the upload begins to be stored")
        _wait_until(lambda: not drafts(), "what was stored of it is removed")
    assert remains(customer) == NOTHING


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd.jsonl", "passwd.jsonl"),
        ("..\\..\\boot.jsonl", "boot.jsonl"),
        ("/etc/cron.d/job.jsonl", "job.jsonl"),
        ("..", "upload"),
        ("a/../..", "upload"),
        ("", "upload"),
        ("in\r\nX-Evil: 1.jsonl", "inX-Evil: 1.jsonl"),
        ("rm\u202egnp.jsonl", "rmgnp.jsonl"),
        ("nul\0.jsonl", "nul.jsonl"),
        ("x" * 600 + ".jsonl", "x" * 506 + ".jsonl"),
        ("." + "x" * 600, "." + "x" * 511),
    ],
)
def test_only_a_harmless_base_name_is_kept(sent: str, kept: str) -> None:
    assert base_name(sent) == kept


@pytest.mark.parametrize("filename", ["../../escape.jsonl", "/abs.jsonl", "link -> etc.jsonl"])
def test_a_file_name_never_reaches_the_store(customer: Customer, remains: Look, filename: str) -> None:
    file_id = customer.file_id(filename=filename)
    assert remains(customer).objects == [f"{customer.organization_id}/files/{file_id}/content"]


def _head(customer: Customer, length: str) -> bytes:
    return (
        f"POST /v1/files HTTP/1.1\r\nhost: yard\r\nauthorization: Bearer {customer.key}\r\n"
        f"content-type: {FORM['content-type']}\r\n{length}\r\n\r\n"
    ).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _read_all(client: socket.socket) -> bytes:
    client.settimeout(GONE_SECONDS)
    answer = b""
    while more := client.recv(65_536):
        answer += more
    return answer


def _wait_until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)
