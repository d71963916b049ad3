"""A reader finishes any file in one sitting."""

from pathlib import Path

from tests.architecture import PACKAGES, ROOT, source_files

LINES_MAX = 500
LINES_QUESTIONED = 300

MIGRATIONS = ROOT / "orchestrator" / "database" / "migrations" / "versions"  # written by a program

# Files above LINES_QUESTIONED that were questioned, and why each is better whole.
BETTER_WHOLE = {
    "orchestrator/storage/s3.py": "the one file that knows S3, its multipart uploads included",
}


def test_no_file_is_too_long():
    too_long = [path for path in source_files(*PACKAGES, "tests", "infra") if _lines(path) > LINES_MAX]
    assert not too_long


def test_every_long_file_has_a_reason_to_be_whole():
    long = [
        str(path.relative_to(ROOT))
        for path in source_files(*PACKAGES)
        if _lines(path) > LINES_QUESTIONED and path.parent != MIGRATIONS
    ]
    assert set(long) == set(BETTER_WHOLE)


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())
