"""Real parts for every test: a throw-away Postgres, an empty database, a local object store."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

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
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database with every migration; copying it costs milliseconds."""
    postgres.create_database(TEMPLATE)
    migrate(postgres.url(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The address of an empty, migrated database that only this test uses."""
    name = f"test_{next(_numbers)}"
    postgres.create_database(name, template=migrated_template)
    yield postgres.url(name)
    postgres.drop_database(name)


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
