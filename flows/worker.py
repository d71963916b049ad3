"""The composition root of a yard worker.

    python -m flows.worker --pool cpu --name cpu-1 --limit 200

SIGTERM or SIGINT drains: nothing new is taken, every run is told to end, and Prefect knows how each
ended. A second signal exits at once; the next start under the same name puts Prefect right. Flow
code imports `current_stop` from here.
"""

import argparse
import asyncio
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import FrameType

from prefect.settings import PREFECT_API_URL

from flows.reconcile import let_go
from flows.runs import NEW_RUNS
from flows.stop import StopSignal, current_stop
from flows.yard_worker import YardWorker
from orchestrator import telemetry
from orchestrator.database.listen import listen
from orchestrator.settings import Settings

__all__ = ["StopSignal", "YardWorker", "current_stop", "main"]

EXIT_SECONDS_MAX = 5.0  # for Prefect's threads to send their last logs and events


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry flow runs until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m flows.worker")
    parser.add_argument("--pool", required=True, help="the work pool to take flow runs from")
    parser.add_argument("--name", required=True, help="unique among the pool's live workers")
    parser.add_argument("--limit", type=int, default=200, help="flow runs at once")
    options = parser.parse_args(arguments)
    if PREFECT_API_URL.value() is None:
        parser.error("PREFECT_API_URL is not set: start with `yard up`, or point it at Prefect")
    telemetry.configure(f"worker {options.name}")
    secret_url = Settings().database_url
    database_url = secret_url.get_secret_value() if secret_url else None
    worker = YardWorker(
        pool=options.pool,
        name=options.name,
        limit=options.limit,
        woken=database_url is not None,
        on_left_behind=partial(let_go, database_url) if database_url else None,
    )
    serve(worker, database_url)


def serve(worker: YardWorker, database_url: str | None) -> None:
    """Run the worker's event loop beside the main thread, which waits for signals.

    On the main thread Prefect's flow engine would take SIGTERM for itself and raise out of whatever
    instruction the loop is at.
    """
    signals = 0

    def told(number: int, _frame: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            os._exit(128 + number)
        worker.drain()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)
    with ThreadPoolExecutor(1, thread_name_prefix="flows") as loop_thread:
        loop_thread.submit(copy_context().run, asyncio.run, _serve(worker, database_url)).result()
    last_moment = threading.Timer(EXIT_SECONDS_MAX, os._exit, [0])
    last_moment.daemon = True
    last_moment.start()


async def _serve(worker: YardWorker, database_url: str | None) -> None:
    """Serve, and look for runs at once when the database says that there is a new one."""
    waking = asyncio.create_task(_wake(worker, database_url)) if database_url else None
    try:
        await worker.serve()
    finally:
        if waking is not None:
            waking.cancel()


async def _wake(worker: YardWorker, database_url: str) -> None:
    async for _ in listen(database_url, [NEW_RUNS]):
        worker.wake()


if __name__ == "__main__":
    main()
