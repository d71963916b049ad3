"""Real parts for every test: a throw-away Postgres, an empty database, a local object store."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.database.migrate import migrate
from orchestrator.database.session import Database
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.storage.local import LocalStore
from tests.smoke_fixture import smoke_model
from tests.yard_fixture import models_file, remote_engine, yard

__all__ = ["models_file", "remote_engine", "smoke_model", "yard"]

TEMPLATE = "yard_template"
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 2 * 2**30  # a database is 8 MB, and Postgres keeps up to 1 GB of its log
_numbers = itertools.count(1)


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
def server(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """A connection that has a migrated database beside it, to be copied in milliseconds."""
    postgres.create_database(TEMPLATE)
    migrate(postgres.url(TEMPLATE))
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, server: psycopg.Connection) -> Iterator[str]:
    """The address of an empty, migrated database that only this test uses."""
    name = f"test_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
    yield postgres.url(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty, migrated database that only this test uses."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty object store that only this test uses."""
    return LocalStore(tmp_path / "store")


def _fast_folder() -> Path | None:
    """Memory if there is enough: a database is 300 files, half a second on a slow disk."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN:
        return MEMORY
    return None
