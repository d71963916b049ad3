"""Monthly caps: set, changed and removed by an owner, with effect at once; new work is refused at one."""

from collections.abc import Sequence

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, select

from orchestrator import clock
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.errors import Invalid, NotFound
from orchestrator.spending import holds
from orchestrator.spending.holds import Work
from orchestrator.spending.model import SpendLimit
from orchestrator.spending.standing import ORGANIZATION, Standing, spending, standings

BLOCKED = "blocked_api_access"  # as at Groq


def require_open(tx: Session, *, organization_id: str, project_id: str) -> None:
    """Raise Invalid, with the figures, where a limit over this project is reached. Without a limit it is one
    look into an index."""
    for standing in standings(tx, organization_id=organization_id, project_id=project_id):
        if standing.reached:
            raise Invalid(
                f"Nothing new can begin: a spend limit is reached. {standing.words()}", code=BLOCKED
            )


def get(tx: Session, *, organization_id: str, project_id: str = ORGANIZATION) -> Standing:
    """How one limit stands. Raises NotFound where none is set."""
    limit = tx.get(SpendLimit, (organization_id, project_id))
    if limit is None:
        whose = f"project {project_id}" if project_id else "your organization"
        raise NotFound(f"No spend limit is set for {whose}.")
    return Standing(limit, spending(tx, organization_id, project_id=project_id))


def set_cap(
    tx: Session,
    *,
    organization_id: str,
    project_id: str = ORGANIZATION,
    cap_micros: int,
    running: Sequence[tuple[Work, int]],
    actor: str,
) -> Standing:
    """Set or change a cap. `running` is all live work of the organization, its rows held, and what each has
    cost or is bound to cost: what runs keeps that, whatever the cap, and everything more has to ask."""
    before = tx.exec(
        select(SpendLimit.cap_micros).where(
            SpendLimit.organization_id == organization_id, SpendLimit.project_id == project_id
        )
    ).first()
    row = insert(SpendLimit).values(
        organization_id=organization_id,
        project_id=project_id,
        cap_micros=cap_micros,
        reached_at=None,
        updated_at=clock.now(),
    )
    names = ("cap_micros", "reached_at", "updated_at")
    tx.execute(
        row.on_conflict_do_update(
            index_elements=["organization_id", "project_id"],
            set_={name: row.excluded[name] for name in names},
        )
    )
    holds.hold_running(tx, running)
    _record(
        tx,
        Action.SPEND_LIMIT_UPDATED,
        organization_id,
        project_id,
        actor=actor,
        before=before,
        after=cap_micros,
    )
    limit = tx.get_one(SpendLimit, (organization_id, project_id), populate_existing=True)
    return Standing(limit, spending(tx, organization_id, project_id=project_id))


def remove(tx: Session, *, organization_id: str, project_id: str = ORGANIZATION, actor: str) -> None:
    """No cap from now on. Raises NotFound where there was none."""
    limit = get(tx, organization_id=organization_id, project_id=project_id).limit
    _record(
        tx,
        Action.SPEND_LIMIT_DELETED,
        organization_id,
        project_id,
        actor=actor,
        before=limit.cap_micros,
        after=None,
    )
    tx.delete(limit)


def _record(
    tx: Session,
    action: Action,
    organization_id: str,
    project_id: str,
    *,
    actor: str,
    before: int | None,
    after: int | None,
) -> None:
    audit.record(
        tx,
        action,
        organization_id=organization_id,
        project_id=project_id or None,
        actor=actor,
        subject_id=project_id or organization_id,
        before=None if before is None else {"cap_micros": before},
        after=None if after is None else {"cap_micros": after},
    )
