"""Every problem of a file that was checked, as a file of its own that is kept for an hour."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from api.yard import Yard
from orchestrator import ids
from orchestrator.files import service as files
from orchestrator.files.intake import removed_on_failure
from orchestrator.files.model import Purpose
from orchestrator.organizations.principal import Principal
from orchestrator.storage import keys

REPORT_SECONDS = files.EXPIRES_AFTER_SECONDS_MIN
CHUNK_BYTES = 1 << 20


async def store_report(yard: Yard, caller: Principal, report: Path, *, about: str, purpose: Purpose) -> str:
    """Store the report on the file `about`, and return its id."""
    report_id = ids.new("file-")
    key = keys.file_content(caller.organization_id, report_id)
    async with removed_on_failure(yard.store, key):
        stored = await yard.store.put_stream(key, _chunks(report))

        def save() -> None:
            with yard.database.transaction() as tx:
                files.add(
                    tx,
                    caller,
                    file_id=report_id,
                    filename=f"{about}_report.jsonl",
                    purpose=purpose,
                    stored=stored,
                    summary=None,
                    expires_after_seconds=REPORT_SECONDS,
                    retention_days=yard.tier(caller).retention_days,
                )

        await asyncio.to_thread(save)
    return report_id


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as report:
        while chunk := await asyncio.to_thread(report.read, CHUNK_BYTES):
            yield chunk
