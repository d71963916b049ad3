"""Files that a batch makes: a merged result that is in the store becomes a File of its organization."""

from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session

from orchestrator import clock, ids
from orchestrator.batches.model import Batch
from orchestrator.files.model import File, Purpose
from orchestrator.storage.keys import Result
from orchestrator.storage.store import Stored

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class ResultFile:
    """What is in the store under `key`, how many lines it has, and how long the tier keeps it."""

    key: str
    stored: Stored
    lines: int
    keep_days: int


def add(tx: Session, batch: Batch, result: ResultFile, kind: Result) -> str:
    """The File of a stored result, and its id."""
    moment = clock.now()
    seconds = batch.output_expires_after_seconds or result.keep_days * SECONDS_A_DAY
    file = File(
        id=ids.new("file-"),
        organization_id=batch.organization_id,
        project_id=batch.project_id,
        filename=f"{batch.id}_{kind}.jsonl",
        purpose=Purpose.BATCH_OUTPUT,
        bytes=result.stored.size,
        sha256=result.stored.sha256,
        key=result.key,
        created_at=moment,
        expires_at=moment + timedelta(seconds=seconds),
    )
    tx.add(file)
    return file.id
