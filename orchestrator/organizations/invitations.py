"""Invitations: a token, shown once to whoever invites, that makes its bearer a member."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.database.pages import Page, PageRequest, fetch
from orchestrator.errors import Conflict, NotFound
from orchestrator.organizations import keys, members, projects
from orchestrator.organizations.bounds import checked_email, checked_name, require_room
from orchestrator.organizations.keys import hashed
from orchestrator.organizations.model import ApiKey, Invitation, Member, Role
from orchestrator.organizations.principal import Principal
from orchestrator.organizations.scopes import require_no_more

INVITATIONS_MAX = 10_000  # of one organization, used and withdrawn ones too
TOKEN_PREFIX = "yard_invite_"
TOKEN_RANDOM_BYTES = 32


def send(
    tx: Session, caller: Principal, *, email: str, role: Role, valid_for: timedelta
) -> tuple[Invitation, str]:
    """A new invitation, and its token, which can never be read again. Handing it over is the caller's part.

    Raises NotEntitled for a role that may do more than the caller, Invalid for a bad address, Conflict for a
    member or somebody who is invited already.
    """
    require_no_more(caller, role)
    email, now = checked_email(email), clock.now()
    members.require_stranger(tx, caller.organization_id, email)
    theirs = col(Invitation.organization_id) == caller.organization_id
    pending = tx.exec(
        select(Invitation).where(theirs, col(Invitation.email) == email, *_pending(now))
    ).first()
    if pending is not None:
        raise Conflict(
            f"'{email}' is invited already, by '{pending.id}'. Delete that invitation to send another."
        )
    require_room(tx, Invitation, theirs, INVITATIONS_MAX)
    token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_RANDOM_BYTES)
    invitation = Invitation(
        id=ids.new("invite-"),
        organization_id=caller.organization_id,
        email=email,
        role=role,
        token_hash=hashed(token),
        invited_by=caller.key_id,
        created_at=now,
        expires_at=now + valid_for,
    )
    tx.add(invitation)
    _record(tx, Action.INVITE_SENT, invitation, actor=caller.key_id, after={"email": email, "role": role})
    tx.flush()
    return invitation, token


def get(tx: Session, invitation_id: str, *, organization_id: str) -> Invitation:
    """One invitation. Raises NotFound, for one that was withdrawn too."""
    found = tx.exec(
        select(Invitation)
        .where(col(Invitation.id) == invitation_id, col(Invitation.organization_id) == organization_id)
        .where(col(Invitation.revoked_at).is_(None))
    ).first()
    if found is None:
        raise NotFound(f"Your organization has no invitation with id '{invitation_id}'.")
    return found


def list_page(tx: Session, page: PageRequest, *, organization_id: str) -> Page[Invitation]:
    """One page of an organization's invitations, without those that were withdrawn."""
    kept = col(Invitation.revoked_at).is_(None)
    return fetch(tx, Invitation, page, organization_id=organization_id, where=[kept])


def withdraw(tx: Session, caller: Principal, invitation_id: str) -> Invitation:
    """Refuse its token from now on. Raises NotFound, Conflict where it was accepted."""
    invitation = get(tx, invitation_id, organization_id=caller.organization_id)
    tx.refresh(invitation, with_for_update=True)
    if invitation.accepted_at is not None:
        raise Conflict(
            f"The invitation was accepted {clock.said(invitation.accepted_at)}. Remove the member instead."
        )
    invitation.revoked_at = clock.now()
    _record(tx, Action.INVITE_DELETED, invitation, actor=caller.key_id)
    return invitation


def accept(tx: Session, *, token: str, name: str) -> tuple[Member, ApiKey, str]:
    """Make the token's bearer a member, with a first key of theirs: the member, the key's row, the key.

    Raises NotFound for a token that was never made, Conflict for one that was used, withdrawn or too late.
    """
    name = checked_name(name)
    invitation = tx.exec(
        select(Invitation).where(col(Invitation.token_hash) == hashed(token)).with_for_update()
    ).first()
    if invitation is None:
        raise NotFound("No invitation has this token. Ask whoever invited you.")
    _require_open(invitation)
    now = clock.now()
    member = members.add(
        tx,
        organization_id=invitation.organization_id,
        email=invitation.email,
        name=name,
        role=invitation.role,
        actor=invitation.invited_by,
    )
    invitation.accepted_at = now
    project = projects.get(tx, invitation.organization_id, None)
    key, secret = keys.create(
        tx,
        project_id=project.id,
        name=name,
        role=member.role,
        member_id=member.id,
        actor=invitation.invited_by,
    )
    _record(tx, Action.INVITE_ACCEPTED, invitation, actor=key.id)
    return member, key, secret


def _require_open(invitation: Invitation) -> None:
    for moment, what in (
        (invitation.accepted_at, "was accepted"),
        (invitation.revoked_at, "was withdrawn"),
        (invitation.expires_at if invitation.expires_at <= clock.now() else None, "expired"),
    ):
        if moment is not None:
            raise Conflict(
                f"This invitation {what} {clock.said(moment)}. Ask an owner of the organization for another."
            )


def _pending(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        col(Invitation.accepted_at).is_(None),
        col(Invitation.revoked_at).is_(None),
        col(Invitation.expires_at) > now,
    )


def _record(
    tx: Session,
    action: Action,
    invitation: Invitation,
    *,
    actor: str,
    after: Mapping[str, str] | None = None,
) -> None:
    audit.record(
        tx,
        action,
        organization_id=invitation.organization_id,
        actor=actor,
        subject_id=invitation.id,
        after=after,
    )
