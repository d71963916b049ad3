"""Limits on how many of something an organization has under way at once, whichever API process serves it.

Statements are built once, here: to build one takes longer than to run it.
"""

from datetime import timedelta

from sqlalchemy import Integer, Table, bindparam, func, insert, or_, select
from sqlmodel import Session

from orchestrator import clock
from orchestrator.errors import QuotaExceeded
from orchestrator.limits.model import Underway

RETRY_AFTER_SECONDS = 1.0
_ROWS: Table = Underway.__table__  # type: ignore[attr-defined]  # every mapped class has it
_LOCK = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("counted"), 0)))
_COUNTED = (
    _ROWS.c.organization_id == bindparam("its_organization"),
    _ROWS.c.limit == bindparam("its_limit"),
    _ROWS.c.until > bindparam("now", type_=_ROWS.c.until.type),
)
_COUNT_ALL = select(func.count()).where(*_COUNTED)
_COUNT_PROJECT = _COUNT_ALL.where(_ROWS.c.project_id == bindparam("its_project"))
_ALLOWED, _PROJECT_ALLOWED = bindparam("allowed", type_=Integer), bindparam("project_allowed", type_=Integer)
_ADD = (
    insert(_ROWS)
    .from_select(
        ["id", "organization_id", "project_id", "limit", "until"],
        select(
            bindparam("its_id"),
            bindparam("its_organization"),
            bindparam("its_project"),
            bindparam("its_limit"),
            bindparam("its_until", type_=_ROWS.c.until.type),
        ).where(
            or_(_ALLOWED.is_(None), _COUNT_ALL.scalar_subquery() < _ALLOWED),
            or_(_PROJECT_ALLOWED.is_(None), _COUNT_PROJECT.scalar_subquery() < _PROJECT_ALLOWED),
        ),
    )
    .returning(_ROWS.c.id)
)
_END = _ROWS.delete().where(_ROWS.c.id == bindparam("its_id"))
_FORGET_STALE = _ROWS.delete().where(_ROWS.c.until <= bindparam("now", type_=_ROWS.c.until.type))


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
    now = clock.now()
    counted = {
        "its_organization": organization_id,
        "its_project": project_id,
        "its_limit": limit,
        "now": now,
    }
    if allowed is not None or project_allowed is not None:
        # Whoever adds after this lock sees what those before have added: it lasts until the commit.
        tx.execute(_LOCK, {"counted": f"{organization_id} {limit}"})
    added = counted | {
        "its_id": id,
        "its_until": now + timedelta(seconds=seconds),
        "allowed": allowed,
        "project_allowed": project_allowed,
    }
    if tx.execute(_ADD, added).first():
        return
    for scope, most in ((None, allowed), (project_id, project_allowed)):
        used = count(tx, organization_id=organization_id, project_id=scope, limit=limit)
        if most is not None and used >= most:
            whose = "your organization" if scope is None else f"project `{scope}`"
            raise QuotaExceeded(
                f"Limit reached for {limit.replace('_', ' ')} ({limit}) in {whose}: Limit {most:,}, "
                f"Used {used:,}, Requested 1. Wait for one to end and send this again.{more}",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
    raise AssertionError(f"{limit} of {organization_id} was refused under its lock, and has room")


def end(tx: Session, id: str) -> None:
    """Count it no more. Doing so twice does no harm."""
    tx.execute(_END, {"its_id": id})


def count(tx: Session, *, organization_id: str, project_id: str | None, limit: str) -> int:
    """How many are under way now, in one project or, with None, in all."""
    asked = {"its_organization": organization_id, "its_limit": limit, "now": clock.now()}
    if project_id is None:
        return int(tx.execute(_COUNT_ALL, asked).scalar_one())
    return int(tx.execute(_COUNT_PROJECT, asked | {"its_project": project_id}).scalar_one())


def forget_stale(tx: Session) -> int:
    """Remove what processes that died have left behind; says how much that was."""
    gone = tx.execute(_FORGET_STALE, {"now": clock.now()})
    return int(gone.rowcount)  # type: ignore[attr-defined]  # a DELETE's cursor result has it
