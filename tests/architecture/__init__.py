"""Rules that hold for the whole project, each checked by reading it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "flows", "orchestrator", "workers")


def source_files(*folders: str) -> list[Path]:
    """Every Python file in these folders of the project."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert files, f"nothing in {folders}: has a folder been renamed?"
    return sorted(files)
