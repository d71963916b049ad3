"""The smoke model itself, for tests marked `engine`."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.models import smoke
from orchestrator.settings import PROJECT, Settings


@pytest.fixture(scope="session")
def smoke_model() -> Path:
    """Its folder."""
    return made_smoke_model()


def made_smoke_model() -> Path:
    """Where a yard started here keeps it too. Made once for each version of the recipe."""
    folder = smoke.folder(PROJECT / ".yard")
    if not folder.exists():
        command = [Settings().gpu_interpreter(), "-m", "workers.training.smoke_model", folder]
        made = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
    return folder
