"""Write a migration after the tables in code have changed.

    python -m orchestrator.embedded.revision "what changed"

The difference is taken against a throw-away cluster with every migration there is. Read what was
written: Alembic sees neither changed CHECK constraints nor data.
"""

import sys
import tempfile
from pathlib import Path

from orchestrator.database.migrate import migrate, write_revision
from orchestrator.embedded.postgres import EmbeddedPostgres


def main(message: str) -> None:
    """Write one file into `orchestrator/database/migrations/versions`."""
    with (
        tempfile.TemporaryDirectory(prefix="yard-revision-") as folder,
        EmbeddedPostgres(Path(folder), durable=False) as postgres,
    ):
        url = postgres.url("postgres")
        migrate(url)
        write_revision(url, message)


if __name__ == "__main__":
    main(sys.argv[1])
