"""What an organization has under way and has used today: the other half of every limit on
batches."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time

from sqlmodel import Session, col, or_, select

from orchestrator.batches.model import Batch
from orchestrator.batches.states import FINAL, BatchStatus
from orchestrator.batches.validation import Summary
from orchestrator.files.model import File

# Prompt tokens are counted only when the file is prepared. Until then: bytes of JSON by this, which
# is more tokens than English prompts have, so the estimate errs on the side of the limit.
BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Standing:
    """`queued_tokens` estimates, for each model, the prompt tokens of lines without a result."""

    live_batches: int
    lines_today: int
    queued_tokens: Mapping[str, int]


def standing(tx: Session, *, organization_id: str, now: datetime) -> Standing:
    """The organization's standing. To act on it, hold the organization's row: see
    `service.create`."""
    midnight = datetime.combine(now.date(), time(), now.tzinfo)
    live = col(Batch.status).not_in(FINAL)
    rows = tx.exec(
        select(Batch, File)
        .join(File, col(File.id) == col(Batch.input_file_id))
        .where(Batch.organization_id == organization_id)
        .where(or_(live, col(Batch.created_at) >= midnight))
    ).all()
    queued: Counter[str] = Counter()
    live_batches = lines_today = 0
    for batch, file in rows:
        if batch.status not in FINAL:
            live_batches += 1
            done = batch.request_completed + batch.request_failed
            queued.update(queued_tokens(file, lines=lines_of(batch, file) - done))
        if batch.created_at >= midnight:
            lines_today += lines_of(batch, file)
    return Standing(live_batches, lines_today, queued)


def lines_of(batch: Batch, file: File) -> int:
    """The lines a batch runs: as validated, or as the upload counted them. A refused file runs
    none."""
    if batch.request_total or batch.status is BatchStatus.FAILED:
        return batch.request_total
    return summary_of(file).lines


def queued_tokens(file: File, *, lines: int) -> dict[str, int]:
    """An estimate of the prompt tokens in `lines` of the file's lines, spread over its models as
    all of its lines are."""
    summary = summary_of(file)
    tokens_a_line = file.bytes / BYTES_PER_TOKEN / max(1, summary.lines)
    share = lines / max(1, summary.lines)
    return {model: int(count * share * tokens_a_line) for model, count in summary.models.items()}


def summary_of(file: File) -> Summary:
    """What the upload saw of a batch file; an empty summary where nothing looked."""
    if file.summary is None:
        return Summary(lines=0, bad_lines=0, first_problems=(), models={}, endpoints={})
    return Summary.from_json(file.summary)
