"""CPU-heavy work apart from the event loop: in one child process, whatever happens to it."""

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

Spec = TypeVar("Spec")
Result = TypeVar("Result")


class ChildPool:
    """One child process, started at first use, that does one thing after another.

    If it is killed, whoever waited for it sees BrokenProcessPool, and the next one gets a new child.
    """

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None
        self._pid: int | None = None

    async def run(self, work: Callable[[Spec], Result], spec: Spec) -> Result:
        """`work(spec)`, done in the child: a function of a module, whose argument and result are pickled."""
        loop = asyncio.get_running_loop()
        if self._executor is None:
            self._executor = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
            self._pid = None
        executor = self._executor
        try:
            if self._pid is None:
                self._pid = await loop.run_in_executor(executor, os.getpid)
            return await loop.run_in_executor(executor, work, spec)
        except BrokenProcessPool:
            if self._executor is executor:
                self._executor = None
            raise

    def close(self) -> None:
        """Kill the child, which has nothing to lose; whoever waits for it sees BrokenProcessPool."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        if self._pid is not None:
            try:
                os.kill(self._pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself
        # Waits for no work, only for the thread that hands back the child's semaphores.
        executor.shutdown(wait=True, cancel_futures=True)
