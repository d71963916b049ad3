"""A large file through the API, checked and stored, against a bare write of the same bytes to the disk."""

import http.client
import json
import os
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks.processes import forget_peak, peak_rss_mb, rss_mb
from tests.benchmarks.running import RunningApi, api_alone
from tests.benchmarks.table import Table
from tests.customer import CHAT

BYTES, BYTES_QUICK = 200_000_000, 20_000_000
LINE_BYTES = (1_000, 4_000)
ROUNDS = 2
BLOCK_BYTES = 1 << 20
BOUNDARY = "benchmark"
FIELDS = f"""\
--{BOUNDARY}\r
Content-Disposition: form-data; name="purpose"\r
\r
batch\r
--{BOUNDARY}\r
Content-Disposition: form-data; name="file"; filename="input.jsonl"\r
\r
""".encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()

NOTES = """\
One `POST /v1/files` over loopback: every line parsed and checked, the bytes hashed, stored and synced before
the answer. The bare write is the same bytes in blocks of 1 MiB with one fsync, on the same disk. Extra memory
is the API's peak above what it held before its first request. The better of two rounds each."""


def measure(*, quick: bool) -> Table:
    """One file of each length of lines."""
    rows = []
    with api_alone() as api:
        at_rest = rss_mb(api.pid)
        for line_bytes in LINE_BYTES:
            with tempfile.TemporaryDirectory(dir=api.home) as folder:
                path = Path(folder) / "input.jsonl"
                lines = _write(path, line_bytes, total=BYTES_QUICK if quick else BYTES)
                megabytes = path.stat().st_size / 1e6
                ours, extra = [], []
                bare = [_bare_write(path) for _ in range(ROUNDS)]
                for _ in range(ROUNDS):
                    forget_peak(api.pid)
                    ours.append(_upload(api, path, lines))
                    extra.append(peak_rss_mb(api.pid) - at_rest)
            rows.append(
                [
                    f"{lines:,} lines of {line_bytes:,} bytes",
                    f"{megabytes / min(ours):.0f} MB/s",
                    f"{megabytes / min(bare):.0f} MB/s",
                    f"{min(bare) / min(ours):.2f}",
                    f"{max(extra):.0f} MB",
                ]
            )
    return Table(
        title="Upload",
        columns=("", "through the API", "bare write", "ratio", "extra memory of the API"),
        rows=rows,
        notes=NOTES,
    )


def _write(path: Path, line_bytes: int, *, total: int) -> int:
    """A batch file of about `total` bytes; gives its number of lines."""
    count = total // line_bytes
    with path.open("w") as file:
        for number in range(count):
            message = {"role": "user", "content": ""}
            body = {"model": "yard-smoke", "messages": [message], "max_tokens": 64}
            line = {"custom_id": f"line-{number}", "method": "POST", "url": CHAT, "body": body}
            message["content"] = "word " * ((line_bytes - len(json.dumps(line)) - 1) // 5)
            file.write(json.dumps(line) + "\n")
    return count


def _upload(api: RunningApi, path: Path, lines: int) -> float:
    """Seconds until the API has answered for the whole file."""
    size = len(FIELDS) + path.stat().st_size + len(END)
    connection = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=120)
    began = time.monotonic()
    connection.putrequest("POST", "/v1/files")
    connection.putheader("Authorization", f"Bearer {api.keys['enterprise']}")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(size))
    connection.endheaders(FIELDS)
    with path.open("rb") as file:
        connection.sock.sendfile(file)
    connection.send(END)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    seconds = time.monotonic() - began
    connection.close()
    assert answer.status == http.client.OK, found
    assert (found["validation"]["lines"], found["validation"]["bad_lines"]) == (lines, 0), found
    return seconds


def _bare_write(path: Path) -> float:
    """Seconds to write a copy of the file and know it safe."""
    copy = path.with_name("copy")
    began = time.monotonic()
    with path.open("rb") as source, copy.open("wb") as target:
        while block := source.read(BLOCK_BYTES):
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    seconds = time.monotonic() - began
    copy.unlink()
    return seconds
