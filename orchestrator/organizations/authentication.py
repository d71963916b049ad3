"""From a key to its bearer. Nothing is kept in between: what ends a key ends it for the next request."""

from datetime import datetime, timedelta

from sqlalchemy import or_, update
from sqlmodel import Session, col, select

from orchestrator import clock
from orchestrator.errors import Unauthenticated
from orchestrator.organizations.keys import hashed
from orchestrator.organizations.model import ApiKey, Member, Organization, Project
from orchestrator.organizations.principal import Principal
from orchestrator.organizations.scopes import lower

USE_NOTED_EVERY = timedelta(minutes=1)


def authenticate(tx: Session, secret: str) -> Principal:
    """Who bears this key; notes, at most once a minute, that it was used. Raises Unauthenticated.

    The look-up is by hash, so its time says nothing about how much of a guess was right. A member's key does
    no more than the member may now.
    """
    found = tx.exec(
        select(ApiKey, Project, Organization, Member)
        .join(Project, col(Project.id) == col(ApiKey.project_id))
        .join(Organization, col(Organization.id) == col(Project.organization_id))
        .outerjoin(Member, col(Member.id) == col(ApiKey.member_id))
        .where(col(ApiKey.hash) == hashed(secret))
    ).first()
    if found is None:
        raise Unauthenticated("Incorrect API key provided. Ask your yard's operator for a key.")
    key, project, organization, member = found
    now = clock.now()
    _require_alive(key, project, now)
    _note_use(tx, key, now)
    return Principal(
        organization_id=organization.id,
        project_id=key.project_id,
        key_id=key.id,
        tier=organization.tier,
        role=key.role if member is None else lower(key.role, member.role),
        scopes=None if key.scopes is None else frozenset(key.scopes),
        member_id=key.member_id,
        contract=organization.limits,
        project_limits=project.limits,
        support_contact=organization.support_contact,
    )


def _require_alive(key: ApiKey, project: Project, now: datetime) -> None:
    named = f"The API key that ends in '{key.hint}'"
    if key.revoked_at is not None:
        raise Unauthenticated(f"{named} was revoked {clock.said(key.revoked_at)}.")
    if key.expires_at is not None and key.expires_at <= now:
        raise Unauthenticated(
            f"{named} expired {clock.said(key.expires_at)}. An owner of your organization can make a new one."
        )
    if project.archived_at is not None:
        raise Unauthenticated(
            f"{named} belongs to the project '{project.name}', which was archived "
            f"{clock.said(project.archived_at)}: its keys are refused. Use a key of another project."
        )


def _note_use(tx: Session, key: ApiKey, now: datetime) -> None:
    if key.last_used_at is not None and now - key.last_used_at < USE_NOTED_EVERY:
        return
    stale = or_(col(ApiKey.last_used_at).is_(None), col(ApiKey.last_used_at) < now - USE_NOTED_EVERY)
    tx.execute(update(ApiKey).where(col(ApiKey.id) == key.id, stale).values(last_used_at=now))
