import os
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from orchestrator.child_pool import ChildPool
from orchestrator.settings import PROJECT

DEADLINE_SECONDS = 20.0

# Closes its pool in the middle of work that would take far longer than the deadline.
CLOSES_EARLY = """
import asyncio, pathlib, sys, time
from orchestrator.child_pool import ChildPool

def work(begun):
    begun.touch()
    time.sleep(600)

async def main():
    pool, begun = ChildPool(), pathlib.Path(sys.argv[1])
    waiting = asyncio.create_task(pool.run(work, begun))
    while not begun.exists():
        await asyncio.sleep(0.01)
    pool.close()
    (error,) = await asyncio.gather(waiting, return_exceptions=True)
    print(type(error).__name__)

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_work_is_done_in_another_process_and_a_killed_one_is_replaced():
    pool = ChildPool()
    try:
        first = await pool.run(process_id, None)
        with pytest.raises(BrokenProcessPool):
            await pool.run(kill_itself, signal.SIGKILL)
        assert await pool.run(process_id, None) not in (first, os.getpid())
    finally:
        pool.close()


def test_closing_ends_the_child_in_the_middle_of_its_work_and_leaks_nothing(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text(CLOSES_EARLY)
    ended = subprocess.run(
        [sys.executable, program, tmp_path / "begun"],
        env={"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    assert (ended.stdout, ended.stderr) == ("BrokenProcessPool\n", "")


def process_id(_: None) -> int:
    return os.getpid()


def kill_itself(how: signal.Signals) -> None:
    os.kill(os.getpid(), how)
