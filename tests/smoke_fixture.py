"""The smoke model itself, for tests marked `engine`.

`python -m tests.smoke_fixture` makes it ahead of them: no test's own time should go into that.
"""

import subprocess
from pathlib import Path

import pytest

from orchestrator.models import smoke
from orchestrator.settings import PROJECT, Settings

SECONDS_MAX = 900.0


@pytest.fixture(scope="session")
def smoke_model() -> Path:
    """Its folder."""
    return made_smoke_model()


def made_smoke_model() -> Path:
    """Where a yard started here keeps it too. Made once for each version of the recipe."""
    folder = smoke.folder(PROJECT / ".yard")
    if not folder.exists():
        command = [Settings().gpu_interpreter(), "-m", "workers.training.smoke_model", folder]
        made = subprocess.run(
            command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=SECONDS_MAX
        )
        assert made.returncode == 0, made.stderr
    return folder


if __name__ == "__main__":
    made_smoke_model()
