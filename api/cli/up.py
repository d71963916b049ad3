"""`yard up`: a whole yard on this machine, in the foreground."""

import signal
import threading

import typer

from api.cli import render
from api.cli.exits import Exit
from api.cli.status import LiveStatus, PlainStatus
from orchestrator.embedded.lock import AlreadyUp
from orchestrator.embedded.parts import CannotStart
from orchestrator.embedded.postgres import EmbeddedPostgresError
from orchestrator.embedded.supervisor import PartFailed
from orchestrator.embedded.up import up as run
from orchestrator.settings import Settings


def up() -> None:
    """Start a whole yard on this machine; Ctrl-C stops it.

    The first start makes everything it needs in YARD_HOME (default: .yard), which takes a minute
    or two: a private Postgres, a Prefect server, a small model to try things with, and one
    organization for each tier with its key. What dies is restarted; nothing outlives the yard.

    ```
    yard up
    YARD_HOME=/srv/yard YARD_API_PORT=8001 YARD_PREFECT_PORT=4201 yard up    # a second one
    YARD_STORE_URL=s3://bucket/yard yard up                                  # bytes in S3
    ```
    """
    until = threading.Event()

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # twice is at once; the children die with us
        until.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    status = LiveStatus() if render.out.is_terminal else PlainStatus()
    try:
        with status:
            run(Settings(), until=until, changed=status.changed, ready=status.ready)
    except (AlreadyUp, CannotStart, EmbeddedPostgresError, PartFailed) as error:
        render.trouble(error)
        raise typer.Exit(Exit.FAILED) from None
