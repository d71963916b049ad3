"""Flows that do what a test tells them, and write down what became of them.

`flows.scripted` in the tests: a yard worker runs nothing from outside the package `flows`.
"""

import asyncio
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run as this_run
from prefect.states import Cancelled, Completed, State

from flows.artifacts import show_progress
from flows.stop import current_stop


def _write(diary: str, event: str) -> None:
    with Path(diary).open("a") as file:
        file.write(f"{this_run.id} {event}\n")


@flow(name="quick", persist_result=False)
async def quick(diary: str) -> int:
    """Write one line, show a progress bar, end."""
    _write(diary, "ran")
    await show_progress(None, 100.0, "done", key="Quick_Progress")
    return 1


@flow(name="waiting", persist_result=False)
async def waiting(diary: str, seconds: float = 600.0) -> State[None]:
    """Wait, unless told to stop: then end at once, as every flow of the yard does."""
    stop = current_stop()
    _write(diary, "began")
    try:
        await asyncio.wait_for(stop.event.wait(), seconds)
    except TimeoutError:
        _write(diary, "waited")
        return Completed(message="waited")
    _write(diary, str(stop.reason))
    return Cancelled(message=f"told that it is {stop.reason}")


@flow(name="stubborn", persist_result=False)
async def stubborn(diary: str) -> None:
    """Write down what it is told, and go on."""
    stop = current_stop()
    _write(diary, "began")
    await stop.event.wait()
    _write(diary, str(stop.reason))
    await asyncio.sleep(600)


@flow(name="broken", persist_result=False)
async def broken() -> None:
    """Raise."""
    raise ValueError("the third wheel came off")
