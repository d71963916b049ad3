"""A server that speaks real S3, for tests and the demo: moto, from the development dependencies.

As a process:      python -m infra.s3_server        prints `S3 server at http://127.0.0.1:<port>`,
                                                    lives until killed
As a child of us:  with running(folder) as url:     dies with us; its log is folder/s3_server.log

The yard finds it through YARD_STORE_URL=s3://yard/ YARD_S3__ENDPOINT_URL=<url>, and through any
YARD_S3__ACCESS_KEY_ID and YARD_S3__SECRET_ACCESS_KEY: it checks no signature. Buckets are made when
a store is opened. Objects live in its memory, up to three times their size, and end with it.
"""

import logging
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moto.server import ThreadedMotoServer

from orchestrator.child_process import ChildProcess
from orchestrator.settings import inherited_environment

START_SECONDS = 30
STOP_SECONDS = 5


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The URL of a server that runs as long as the block. Raises TimeoutError or RuntimeError."""
    log = folder / "s3_server.log"
    log.unlink(missing_ok=True)  # an earlier server's address is in it
    server = ChildProcess.spawn(
        [sys.executable, "-m", "infra.s3_server"],
        env=inherited_environment(),
        log=log,
        cwd=Path(__file__).parent.parent,
    )
    try:
        yield _wait_for_url(server)
    finally:
        server.terminate(STOP_SECONDS)


def _wait_for_url(server: ChildProcess) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"S3 server at (http://\S+)\n", server.tail()):
            return found[1]
        if server.poll() is not None:
            raise RuntimeError(f"the S3 server ended: {server.tail()}")
        time.sleep(0.02)
    raise TimeoutError(f"the S3 server did not start in {START_SECONDS} s: {server.tail()}")


def main() -> None:
    """Serve on a free port of the loopback address until SIGTERM or SIGINT."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line for every request
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # before there are threads to take them
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    sys.stdout.write(f"S3 server at http://{host}:{port}\n")
    sys.stdout.flush()
    signal.sigwait(ending)
    server.stop()


if __name__ == "__main__":
    main()
