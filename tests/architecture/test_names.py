"""Our package names are generic words: none of them may be somebody else's package, or a test's."""

import importlib.util
from pathlib import Path

import pytest

from tests.architecture import PACKAGES, ROOT


@pytest.mark.parametrize("name", PACKAGES)
def test_our_packages_are_ours(name: str):
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin) == ROOT / name / "__init__.py"


def test_every_folder_of_tests_is_a_package():
    """Without its `__init__.py`, `tests/orchestrator` would hide the real `orchestrator`."""
    folders = {ROOT / "tests", *(path.parent for path in (ROOT / "tests").rglob("*.py"))}
    missing = [str(folder) for folder in folders if not (folder / "__init__.py").exists()]
    assert not missing


def test_tests_mirror_the_packages():
    """`tests/orchestrator/jobs/…` tests `orchestrator/jobs/…`: a folder without its original is stale."""
    stale = [
        str(folder.relative_to(ROOT))
        for name in PACKAGES
        for folder in (ROOT / "tests" / name).rglob("*/")
        if folder.name != "__pycache__" and not (ROOT / folder.relative_to(ROOT / "tests")).is_dir()
    ]
    assert not stale
