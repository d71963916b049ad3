"""How a running flow learns that it shall end. Knows nothing of Prefect.

    stop = current_stop()
    while work_is_left and stop.reason is None:
        ...                         # or: await asyncio.wait_for(stop.event.wait(), seconds)

A flow ends by itself at its next safe point, by returning a state or a value. The worker cuts off
only who has not ended `GRACE_SECONDS` after being told.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

Reason = Literal[
    "cancelled",  # somebody cancelled the run on Prefect's pages or through its API
    "drained",  # the worker goes down on purpose; the work goes on in another run
    "fenced",  # Prefect gave this run another end, or another owner: write nothing more
]

# `cancelled` leaves time to merge what is done; `drained` fits in the 30 s that Kubernetes gives.
GRACE_SECONDS: dict[Reason, float] = {"cancelled": 600.0, "drained": 20.0, "fenced": 30.0}


@dataclass(eq=False)
class StopSignal:
    """One run's. The first reason given stays."""

    reason: Reason | None = None
    event: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, reason: Reason) -> None:
        """Ask the flow to end. Call it from the event loop."""
        if self.reason is None:
            self.reason = reason
            self.event.set()


_current: ContextVar[StopSignal] = ContextVar("stop_signal")


def current_stop() -> StopSignal:
    """This flow run's signal. Outside a worker, where a test calls a flow, one that never comes."""
    stop = _current.get(None)
    return stop if stop is not None else StopSignal()


@contextlib.contextmanager
def stoppable(stop: StopSignal) -> Iterator[None]:
    """Make `stop` what `current_stop` returns, here and in every task begun in the block."""
    token = _current.set(stop)
    try:
        yield
    finally:
        _current.reset(token)
