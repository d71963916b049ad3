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
from types import FrameType

from prefect.settings import PREFECT_API_URL

from flows.stop import StopSignal, current_stop
from flows.yard_worker import YardWorker
from orchestrator import telemetry

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
    serve(YardWorker(pool=options.pool, name=options.name, limit=options.limit))


def serve(worker: YardWorker) -> None:
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
        loop_thread.submit(copy_context().run, asyncio.run, worker.serve()).result()
    last_moment = threading.Timer(EXIT_SECONDS_MAX, os._exit, [0])
    last_moment.daemon = True
    last_moment.start()


if __name__ == "__main__":
    main()
