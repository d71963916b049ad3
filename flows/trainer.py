"""The trainer as a child process, and what it says while it runs.

It dies with this process, kill -9 included, so a GPU is never held for nobody. It knows its spec and its
folder, nothing of the database or the store.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import msgspec

from flows.fine_tune_run import TrainerLost
from orchestrator.child_process import ChildProcess
from orchestrator.settings import PROJECT
from workers.training import launch
from workers.training.reports import FILENAME, Failed, Finished, Report, Stopped
from workers.training.spec import TrainingSpec, encode

SPEC = "spec.json"
POLL_SECONDS = 0.2
LAST_WORDS_LINES = 5

LastReport = Finished | Stopped | Failed


class Trainer:
    """One life of a trainer. `reports` ends with its last one."""

    def __init__(self, process: ChildProcess, folder: Path) -> None:
        self._process = process
        self._path = folder / FILENAME
        self._asked = False
        self._read = 0

    @classmethod
    def start(
        cls, spec: TrainingSpec, *, python: Path, processes: int, environment: dict[str, str], log: Path
    ) -> Self:
        """Write the spec into its folder and start the trainer on it. Waits until it runs."""
        path = spec.folder / SPEC
        path.write_bytes(encode(spec))
        argv = launch.argv(python, path, processes=processes)
        return cls(ChildProcess.spawn(argv, env=environment, log=log, cwd=PROJECT), spec.folder)

    def ask_to_stop(self, grace_seconds: float) -> None:
        """Have it end its step, write a checkpoint, say so and end; after the grace it is killed."""
        if not self._asked:
            self._asked = True
            self._process.ask_to_end(grace_seconds)

    async def reports(self) -> AsyncIterator[list[Report]]:
        """What it has said since the last time, several times a second, often nothing; to its last report.

        Ends early, without one, where it was asked to stop before it could say anything. Raises TrainerLost
        where it ended by itself without a last report.
        """
        while True:
            code = self._process.poll()  # before the reading: what it said last is read once more
            found = await asyncio.to_thread(self._new)
            yield found
            if found and isinstance(found[-1], LastReport):
                return
            if code is not None:
                if self._asked:
                    return
                raise TrainerLost(f"the trainer ended with {code}: {self.last_words()}")
            await asyncio.sleep(POLL_SECONDS)

    async def end(self) -> None:
        """See that nothing is left of it. After its last report all that it had to write is written."""
        await asyncio.to_thread(self._process.kill)

    def last_words(self) -> str:
        """The last lines that it printed."""
        return "\n".join(self._process.tail().splitlines()[-LAST_WORDS_LINES:])

    def _new(self) -> list[Report]:
        """Whole lines that were appended since the last reading."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return [msgspec.json.decode(line, type=Report) for line in whole.splitlines()]
