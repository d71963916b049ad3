"""Preparation apart from the event loop: in one child process, whatever happens to it."""

import asyncio
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from orchestrator.batches.preparation import Preparation, PreparationSpec, prepare


class PreparationPool:
    """One child process that prepares batches, one after another, apart from the event loop.

    If it is killed, whoever waited for it sees BrokenProcessPool, and the next one gets a new child.
    """

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    async def prepare(self, spec: PreparationSpec) -> Preparation:
        """Run `prepare(spec)` in the child."""
        if self._executor is None:
            self._executor = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
        executor = self._executor
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, prepare, spec)
        except BrokenProcessPool:
            if self._executor is executor:
                self._executor = None
            raise

    def close(self) -> None:
        """End the child; whoever waits for it gets an error."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
