"""The name of the smoke model follows its recipe."""

import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from orchestrator.models import smoke


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    again = subprocess.run(
        [sys.executable, "-c", "from orchestrator.models import smoke; print(smoke.fingerprint())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.strip() == smoke.fingerprint()


def test_a_changed_recipe_is_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = smoke.folder(tmp_path)
    copytree(smoke.RECIPE, tmp_path / "recipe")
    monkeypatch.setattr(smoke, "RECIPE", tmp_path / "recipe")
    assert smoke.folder(tmp_path) == before

    with (tmp_path / "recipe" / "smoke_lessons.py").open("a") as source:
        source.write("STEPS = 10\n")

    assert smoke.folder(tmp_path) != before
    assert smoke.folder(tmp_path).parent == before.parent


def test_the_fingerprint_needs_no_torch() -> None:
    assert "torch" not in sys.modules
    assert len(smoke.fingerprint()) == 12
