"""Files that a fine-tuning job makes: its metrics as CSV, and the report on its datasets.

The CSV is plain, since people open it. OpenAI sends the same file base64-encoded, and scripts that expect
this get it from `GET /v1/files/{id}/content?encoding=base64`.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.files.model import File, Purpose
from orchestrator.fine_tuning.model import EventType, FineTuningEvent, FineTuningJob
from orchestrator.storage.store import Stored

ResultName = Literal["metrics.csv", "report.jsonl"]

ROWS_A_READ = 1_000
# A column of the CSV, and the field of a step's event that it shows: OpenAI's columns, then ours.
COLUMNS = {
    "step": "step",
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
    "epoch": "epoch",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "trained_tokens": "trained_tokens",
}


@dataclass(frozen=True)
class ResultFile:
    """What is in the store under `key`, and how long the tier keeps it."""

    key: str
    stored: Stored
    keep_days: int


def metrics_csv(tx: Session, job_id: str) -> Iterator[str]:
    """The CSV line by line: a header, then a line for each step in order, empty where a step has no such
    value."""
    yield _line(list(COLUMNS))
    steps = (
        select(FineTuningEvent.data)
        .where(FineTuningEvent.job_id == job_id, FineTuningEvent.type == EventType.METRICS)
        .order_by(col(FineTuningEvent.step))
        .execution_options(yield_per=ROWS_A_READ)
    )
    for data in tx.exec(steps):
        yield _line([(data or {}).get(field, "") for field in COLUMNS.values()])


def add(tx: Session, job: FineTuningJob, result: ResultFile, name: ResultName) -> str:
    """The File of a stored result, and its id."""
    moment = clock.now()
    file = File(
        id=ids.new("file-"),
        organization_id=job.organization_id,
        project_id=job.project_id,
        filename=f"{job.id}_{name}",
        purpose=Purpose.FINE_TUNE_RESULTS,
        bytes=result.stored.size,
        sha256=result.stored.sha256,
        key=result.key,
        created_at=moment,
        expires_at=moment + timedelta(days=result.keep_days),
    )
    tx.add(file)
    return file.id


def _line(values: list[object] | list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
