"""Eight drives race toward one cap; none knows how long an answer will be."""

from pathlib import Path

from orchestrator.database.session import Database
from tests.factories import make_project
from tests.spending_race import race

BATCHES, SLOTS = 8, 4


async def test_eight_drives_go_past_a_cap_by_no_more_than_their_lines_in_flight(
    database: Database, tmp_path: Path
) -> None:
    with database.transaction() as tx:
        project = make_project(tx)
    ended = await race(database, project, tmp_path, batches=BATCHES, lines=30, slots=SLOTS, cap_lines=120)
    assert ended.left > 0
    assert ended.overshoot / ended.line <= ended.in_flight_max <= BATCHES * SLOTS
    assert ended.charged >= ended.cap - 2 * ended.line  # and what was left was of no use to anybody
