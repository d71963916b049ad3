"""Where commits happen. Services receive an open session and never commit.

    with database.transaction() as tx:      # commits once at the end, rolls back on any exception
        batches.create(tx, ...)
    with database.read() as tx: ...         # never commits

`notify` inside a transaction is delivered by Postgres when, and only if, it commits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, text
from sqlmodel import Session

POOL_SIZE = 10
POOL_OVERFLOW = 20
POOL_WAIT_SECONDS = 30


class Database:
    """One Postgres database. Thread-safe; one per process, made in its composition root."""

    def __init__(self, url: str) -> None:
        """`url` is any libpq address, `postgresql://user@host:port/name`."""
        self.url = url
        self.engine: Engine = create_engine(
            sqlalchemy_url(url),
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_WAIT_SECONDS,
            hide_parameters=True,  # an error's text reaches logs; what a customer sent does not
            pool_pre_ping=True,  # the server may have restarted since the connection was last used
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits when the block ends and rolls back when it raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading: whatever was changed in it is thrown away."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


def sqlalchemy_url(url: str) -> str:
    """The same address, naming the driver that we use."""
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.startswith("postgres"):
        raise ValueError(f"expected postgresql://…, found {url.split('@')[-1]!r}: Postgres only")
    return f"postgresql+psycopg://{rest}"


def notify(tx: Session, channel: str) -> None:
    """Wake whoever listens on `channel`, once this transaction commits."""
    tx.execute(text("SELECT pg_notify(:channel, '')"), {"channel": channel})
