"""The bytes of a line in a batch's output and error files, in OpenAI's shapes.

    output: {"id", "custom_id", "response": {"status_code": 200, "request_id", "body"}, "error"}
    error:  the same with the engine's own refusal as status code and body: it was asked, it said no
    error:  {"id", "custom_id", "response": null, "error": {"code", "message"}}: it did not answer

An engine's body goes in as it came: what the model said is never decoded and encoded again.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from orchestrator import ids
from orchestrator.batches.line_index import LineIndex


class Kind(StrEnum):
    """Which of the two result files a line belongs to."""

    OUTPUT = "output"
    ERROR = "error"


@dataclass(frozen=True)
class LineError:
    """Why a line has no answer. Codes are an open list: `batch_expired`, `batch_cancelled`, …"""

    code: str
    message: str


class Request(Struct):
    """What is needed of an input line to run it; both fields as they stand in the file."""

    custom_id: Raw
    body: Raw


def answered(custom_id: Raw, request_id: str, status: int, body: bytes) -> bytes:
    """The line for an engine's answer. `body` is JSON in one line."""
    return (
        b'{"id":"%b","custom_id":%b,"response":{"status_code":%d,"request_id":"%b","body":%b},"error":null}'
    ) % (ids.new("batch_req_").encode(), custom_id, status, request_id.encode(), body)


def unanswered(custom_id: Raw, error: LineError) -> bytes:
    """The line for a request without an answer."""
    return b'{"id":"%b","custom_id":%b,"response":null,"error":{"code":%b,"message":%b}}' % (
        ids.new("batch_req_").encode(),
        custom_id,
        msgspec.json.encode(error.code),
        msgspec.json.encode(error.message),
    )


class Requests:
    """The requests of one input file, read where the index says they are."""

    def __init__(self, fd: int, index: LineIndex) -> None:
        self._fd = fd
        self._index = index

    def __getitem__(self, line: int) -> Request:
        """The request in `line` (from 0). Raises ValueError if the file is not the one indexed."""
        raw = os.pread(self._fd, int(self._index.length[line]), int(self._index.offset[line]))
        try:
            return _decode(raw)
        except msgspec.DecodeError as error:
            raise ValueError(f"line {line + 1} is not the line that was indexed: {error}") from None


@contextmanager
def open_requests(source: Path, index: LineIndex) -> Iterator[Requests]:
    """The requests in the local file `source`."""
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Requests(fd, index)
    finally:
        os.close(fd)


_decode = msgspec.json.Decoder(Request).decode
