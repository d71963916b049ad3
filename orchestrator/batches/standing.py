"""What an organization has under way and has used today: the other half of every limit on
batches."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time

from sqlalchemy import and_, func, or_, select
from sqlmodel import Session, col

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


def standing(tx: Session, *, organization_id: str, now: datetime, project_id: str | None = None) -> Standing:
    """The organization's standing, or that of one of its projects. To act on it, hold the organization's
    row: see `service.create`. One question, answered with a short row for each input file: a customer may
    have a thousand batches."""
    midnight = datetime.combine(now.date(), time(), now.tzinfo)
    own = () if project_id is None else (col(Batch.project_id) == project_id,)
    live = col(Batch.status).not_in(FINAL)
    today = col(Batch.created_at) >= midnight
    # Until it is validated a batch has the lines that the upload counted; a refused one has none.
    unknown = and_(col(Batch.request_total) == 0, col(Batch.status) != BatchStatus.FAILED)
    done = col(Batch.request_completed) + col(Batch.request_failed)
    rows = tx.execute(
        select(
            col(File.bytes).label("bytes"),
            col(File.summary)["lines"].as_integer().label("lines"),
            col(File.summary)["models"].label("models"),
            func.count().filter(live).label("live_batches"),
            func.coalesce(func.sum(col(Batch.request_total) - done).filter(live), 0).label("left"),
            func.count().filter(live, unknown).label("unknown_left"),
            func.coalesce(func.sum(Batch.request_total).filter(today), 0).label("today"),
            func.count().filter(today, unknown).label("unknown_today"),
        )
        .join(Batch, col(Batch.input_file_id) == col(File.id))
        .where(col(Batch.organization_id) == organization_id, or_(live, today), *own)
        .group_by(col(File.id))
    ).all()
    queued: Counter[str] = Counter()
    for row in rows:
        left = row.left + row.unknown_left * (row.lines or 0)
        queued.update(_tokens(row.bytes, row.lines or 0, row.models or {}, lines=left))
    return Standing(
        live_batches=sum(row.live_batches for row in rows),
        lines_today=sum(row.today + row.unknown_today * (row.lines or 0) for row in rows),
        queued_tokens=queued,
    )


def queued_tokens(file: File, *, lines: int) -> dict[str, int]:
    """An estimate of the prompt tokens in `lines` of the file's lines, spread over its models as
    all of its lines are."""
    summary = summary_of(file)
    return _tokens(file.bytes, summary.lines, summary.models, lines=lines)


def _tokens(size: int, file_lines: int, models: Mapping[str, int], *, lines: int) -> dict[str, int]:
    tokens_a_line = size / BYTES_PER_TOKEN / max(1, file_lines)
    share = lines / max(1, file_lines)
    return {model: int(count * share * tokens_a_line) for model, count in models.items()}


def summary_of(file: File) -> Summary:
    """What the upload saw of a batch file; an empty summary where nothing looked."""
    if file.summary is None:
        return Summary(lines=0, bad_lines=0, first_problems=(), models={}, endpoints={})
    return Summary.from_json(file.summary)
