"""Limits on how many of something an organization has under way at once, whichever API process serves it."""

from datetime import timedelta

from sqlalchemy import Table, bindparam, delete, func
from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.errors import QuotaExceeded
from orchestrator.limits.model import Underway

RETRY_AFTER_SECONDS = 1.0
_ROWS: Table = Underway.__table__  # type: ignore[attr-defined]  # every mapped class has it
_LOCK = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("counted"), 0)))


def begin(
    tx: Session,
    id: str,
    *,
    organization_id: str,
    project_id: str,
    limit: str,
    allowed: int | None,
    project_allowed: int | None = None,
    seconds: float,
    more: str,
) -> None:
    """Count one more, until it ends or, should its process die, for so many seconds. `limit` is the key in
    tiers.toml, `allowed` what the whole organization may have and `project_allowed` its project, None for any
    number; `more` is what lifts it. Raises QuotaExceeded."""
    # Whoever counts and adds after this lock sees what those before have added: it lasts until the commit.
    tx.execute(_LOCK, {"counted": f"{organization_id} {limit}"})
    for scope, most in ((None, allowed), (project_id, project_allowed)):
        if most is None:
            continue
        used = count(tx, organization_id=organization_id, project_id=scope, limit=limit)
        if used >= most:
            whose = "your organization" if scope is None else f"project `{scope}`"
            raise QuotaExceeded(
                f"Limit reached for {limit.replace('_', ' ')} ({limit}) in {whose}: Limit {most:,}, "
                f"Used {used:,}, Requested 1. Wait for one to end and send this again.{more}",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
    until = clock.now() + timedelta(seconds=seconds)
    counted = {"id": id, "organization_id": organization_id, "project_id": project_id, "limit": limit}
    tx.execute(_ROWS.insert(), counted | {"until": until})


def end(tx: Session, id: str) -> None:
    """Count it no more. Doing so twice does no harm."""
    tx.execute(_ROWS.delete().where(_ROWS.c.id == id))


def count(tx: Session, *, organization_id: str, project_id: str | None, limit: str) -> int:
    """How many are under way now, in one project or, with None, in all."""
    own = [] if project_id is None else [col(Underway.project_id) == project_id]
    return tx.exec(
        select(func.count()).where(
            col(Underway.organization_id) == organization_id,
            col(Underway.limit) == limit,
            col(Underway.until) > clock.now(),
            *own,
        )
    ).one()


def forget_stale(tx: Session) -> int:
    """Remove what processes that died have left behind; says how much that was."""
    gone = tx.execute(delete(Underway).where(col(Underway.until) <= clock.now()))
    return int(gone.rowcount)  # type: ignore[attr-defined]  # a DELETE's cursor result has it
