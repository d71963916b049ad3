"""Bring a database to the schema that this version of the yard expects."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from orchestrator.database.session import sqlalchemy_url

MIGRATIONS = Path(__file__).parent / "migrations"
_ONE_AT_A_TIME = 7_236_201  # our advisory lock: any number that nobody else in the database uses
_FORMAT_WHAT_IS_WRITTEN = {
    "hooks": "format",
    "format.type": "module",
    "format.module": "ruff",
    "format.options": "format REVISION_SCRIPT_FILENAME",
}


def migrate(url: str) -> None:
    """Apply every migration that the database lacks, in one transaction. Two at once take turns."""
    with _connection(url) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ONE_AT_A_TIME})
        command.upgrade(_config(connection), "head")


def is_current(url: str) -> bool:
    """Whether the database has exactly the migrations that ship with this version."""
    with _connection(url) as connection:
        applied = MigrationContext.configure(connection).get_current_heads()
        return set(applied) == set(ScriptDirectory.from_config(_config(connection)).get_heads())


def write_revision(url: str, message: str) -> None:
    """Write the migration that leads from the database's schema to the tables in code."""
    with _connection(url) as connection:
        config = _config(connection)
        steps = len(list(ScriptDirectory.from_config(config).walk_revisions()))
        command.revision(config, message, autogenerate=True, rev_id=f"{steps + 1:04d}")


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        yield connection


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    for option, value in _FORMAT_WHAT_IS_WRITTEN.items():
        config.set_section_option("post_write_hooks", option, value)
    return config
