"""What Alembic runs for every command. `migrate.py` gives it the connection."""

from typing import Any, Literal

from alembic import context
from sqlalchemy.types import TypeDecorator

from orchestrator import tables


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our column types as the plain SQL types below them: migrations outlive our classes."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    compare_server_default=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
