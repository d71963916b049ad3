"""How far eight batches go past one spend limit that they race toward."""

import asyncio
import tempfile
from pathlib import Path

from orchestrator.database.migrate import migrate
from orchestrator.database.session import Database
from orchestrator.embedded.postgres import EmbeddedPostgres
from orchestrator.metering.prices import dollars
from tests.benchmarks.table import Table
from tests.factories import make_project
from tests.spending_race import ANSWER_TOKENS, BOUND_TOKENS, QUOTED_SHARE, race

BATCHES = 8
SLOTS, SLOTS_QUICK = (1, 4, 16, 32), (4,)  # lines in flight that each batch may have
LINES, LINES_QUICK = 200, 40  # of each batch: twice what the cap pays for

NOTES = f"""\
{BATCHES} drives, one engine, one cap in a real database. Answers take {ANSWER_TOKENS[0]} to
{ANSWER_TOKENS[1]} tokens, twice the {QUOTED_SHARE * BOUND_TOKENS:.0f} that were quoted, so nobody
knows what a line in flight will cost. Lines are counted at their mean cost."""


def measure(*, quick: bool) -> Table:
    """One race for each number of lines in flight."""
    with (
        tempfile.TemporaryDirectory(prefix="yard-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="yard-bench-postgres-") as cluster,
        EmbeddedPostgres(Path(cluster), durable=False) as postgres,
    ):
        postgres.create_database("race")
        migrate(postgres.url("race"))
        database = Database(postgres.url("race"))
        lines = LINES_QUICK if quick else LINES
        rows = [
            _race(database, Path(folder, f"{slots}"), slots, lines)
            for slots in (SLOTS_QUICK if quick else SLOTS)
        ]
        database.close()
    return Table(
        title="Past a spend limit",
        columns=("in flight at most", "cap", "charged", "past the cap", "lines", "below the cap"),
        rows=rows,
        notes=NOTES,
    )


def _race(database: Database, folder: Path, slots: int, lines: int) -> list[str]:
    with database.transaction() as tx:
        project = make_project(tx)
    cap_lines = BATCHES * lines // 2
    ended = asyncio.run(
        race(database, project, folder, batches=BATCHES, lines=lines, slots=slots, cap_lines=cap_lines)
    )
    return [
        str(ended.in_flight_max),
        dollars(ended.cap),
        dollars(ended.charged),
        f"{dollars(ended.overshoot)} ({ended.overshoot / ended.cap:.2%})",
        f"{ended.overshoot / ended.line:.1f}",
        f"{max(0, ended.cap - ended.charged) / ended.line:.1f} lines",
    ]
