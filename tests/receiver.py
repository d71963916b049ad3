"""Somebody who receives webhooks: a real HTTP server that a test tells how to answer."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_SECONDS_MAX = 10.0


@dataclass(frozen=True)
class Received:
    """One request, as `client.webhooks.unwrap(body, headers)` takes it."""

    headers: dict[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """`statuses` are answered in turn, the last one again and again. While `held` is set, no answer comes.
    `location` and `retry_after` go with every answer, `ceaseless` gives it a body without end."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    received: list[Received] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    location: str = ""
    retry_after: str = ""
    ceaseless: bool = False

    def wait(self, count: int, *, seconds: float = WAIT_SECONDS_MAX) -> list[Received]:
        """The first `count` requests, once they are there."""
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} webhooks have come"
            time.sleep(0.01)
        return self.received[:count]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.received.append(Received(headers, body))
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while self.held.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)
        handler.send_response(self.statuses[0] if len(self.statuses) == 1 else self.statuses.pop(0))
        if self.location:
            handler.send_header("location", self.location)
        if self.retry_after:
            handler.send_header("retry-after", self.retry_after)
        handler.end_headers()
        try:
            while self.ceaseless:
                handler.wfile.write(b"x" * 8192)
        except ConnectionError:
            pass  # the sender has read enough


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver at `url` as long as the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="receiver")
    thread.start()
    try:
        yield receiver
    finally:
        receiver.held.clear()
        server.shutdown()
        thread.join()
        server.server_close()
