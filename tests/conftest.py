"""Real parts for every test: a throw-away Postgres, an empty database, a local object store."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from orchestrator.database.migrate import migrate
from orchestrator.database.session import Database
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.storage.local import LocalStore
from orchestrator.tables import metadata
from tests.smoke_fixture import smoke_model
from tests.yard_fixture import models_file, remote_engine, yard

__all__ = ["models_file", "remote_engine", "smoke_model", "yard"]

MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 2 * 2**30  # a database is 8 MB, and Postgres keeps up to 1 GB of its log
END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
# Without triggers: foreign keys ask for no order, and the ledger lets go of its rows.
EMPTY = "; ".join(
    [
        "SET LOCAL lock_timeout = '1s'",
        "SET LOCAL session_replication_role = replica",
        *(f'DELETE FROM "{name}"' for name in metadata.tables),
    ]
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A cluster for this test run, outside pytest's folder: the server's user cannot enter that."""
    folder = Path(tempfile.mkdtemp(prefix="yard-test-postgres-", dir=_fast_folder()))
    try:
        with EmbeddedPostgres(folder, durable=False) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A migrated database for all tests of this process, one after the other."""
    postgres.create_database("test")
    migrate(postgres.url("test"))
    database = Database(postgres.url("test"))
    yield database
    database.close()


@pytest.fixture
def database(migrated: Database) -> Iterator[Database]:
    """An empty, migrated database that only this test uses. Emptied, not made anew: that takes 2 ms."""
    yield migrated
    try:
        _empty(migrated)
    except OperationalError:  # somebody that the test has left behind holds rows
        with migrated.engine.begin() as connection:
            connection.execute(text(END_OTHERS))
        migrated.close()  # its pool: those connections are gone
        _empty(migrated)


@pytest.fixture
def database_url(database: Database) -> str:
    """The address of an empty, migrated database that only this test uses."""
    return database.url


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty object store that only this test uses."""
    return LocalStore(tmp_path / "store")


def _empty(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text(EMPTY))


def _fast_folder() -> Path | None:
    """Memory if there is enough: a database is 300 files, half a second on a slow disk."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN:
        return MEMORY
    return None
