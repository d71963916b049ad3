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

TEMPLATE = "yard_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A cluster for this test run, outside pytest's folder: the server's user cannot enter that."""
    folder = Path(tempfile.mkdtemp(prefix="yard-test-postgres-"))
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
    server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
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
