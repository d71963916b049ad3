"""The schema that migrations build is the schema that the tables in code describe."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import Session

from orchestrator import tables
from orchestrator.database.migrate import is_current, migrate
from orchestrator.database.session import Database
from orchestrator.embedded.postgres import EmbeddedPostgres

# Everything that Postgres knows of the public schema, in its own words.
SCHEMA = """
SELECT 'column', table_name, column_name, data_type, character_maximum_length::text, is_nullable,
       column_default
  FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', ''
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', tablename, indexname, indexdef, '', '', ''
  FROM pg_indexes WHERE schemaname = 'public'
ORDER BY 1, 2, 3, 4
"""
WRITE_ONE = 'after a change of tables: python -m orchestrator.embedded.revision "what changed"'


def test_an_empty_database_becomes_current_by_migrating(postgres: EmbeddedPostgres):
    postgres.create_database("empty")
    url = postgres.url("empty")
    assert not is_current(url)
    migrate(url)
    assert is_current(url)
    migrate(url)  # a second time changes nothing
    assert is_current(url)


def test_alembic_finds_no_difference(database: Database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == [], WRITE_ONE


def test_migrations_build_what_the_tables_describe(postgres: EmbeddedPostgres, database: Database):
    """Stricter than Alembic, which compares neither CHECKs nor the terms of partial indexes."""
    postgres.create_database("described")
    described = Database(postgres.url("described"))
    tables.metadata.create_all(described.engine)
    with described.read() as from_tables, database.read() as from_migrations:
        assert _schema(from_migrations) == _schema(from_tables), WRITE_ONE
    described.close()


def _schema(tx: Session) -> set[tuple[str, ...]]:
    rows = {tuple(row) for row in tx.execute(text(SCHEMA))}
    return {row for row in rows if "alembic_version" not in row}
