"""CPU-heavy work apart from the event loop: in one child process, whatever happens to it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

Spec = TypeVar("Spec")
Result = TypeVar("Result")


class ChildPool:
    """One child process that works for this one, on one thing after another, apart from its event loop.

    If it is killed, whoever waited for it sees BrokenProcessPool, and the next one gets a new child.
    """

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    async def run(self, work: Callable[[Spec], Result], spec: Spec) -> Result:
        """`work(spec)` in the child: a function of a module, and what can be pickled. Raises what it does."""
        if self._executor is None:
            self._executor = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
        executor = self._executor
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work, spec)
        except BrokenProcessPool:
            if self._executor is executor:
                self._executor = None
            raise

    def close(self) -> None:
        """End the child; whoever waits for it gets an error."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
