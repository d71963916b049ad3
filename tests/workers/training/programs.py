"""Programs in the gpu environment, where torch is."""

import json
import subprocess
from pathlib import Path
from typing import Any

from orchestrator.settings import PROJECT, Settings

SECONDS_MAX = 100  # most of it imports, on a busy machine


def measure(what: str, *arguments: Path) -> Any:
    """What the program `measure_<what>.py` prints."""
    command = [Settings().gpu_interpreter(), "-m", f"tests.workers.training.measure_{what}", *arguments]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=SECONDS_MAX
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
