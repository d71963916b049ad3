"""The people of an organization. What they may do, their keys may do; the last owner stays one."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.database.pages import Page, PageRequest, fetch
from orchestrator.errors import Conflict, NotFound
from orchestrator.organizations import service as organizations
from orchestrator.organizations.bounds import require_room
from orchestrator.organizations.model import ApiKey, Invitation, Member, Role
from orchestrator.organizations.principal import Principal
from orchestrator.organizations.scopes import lower, require_no_more

MEMBERS_MAX = 10_000  # of one organization, former ones too


def add(tx: Session, *, organization_id: str, email: str, name: str, role: Role, actor: str) -> Member:
    """A new member. Raises Conflict where somebody with this address is one, or beyond MEMBERS_MAX."""
    organizations.hold(tx, organization_id)  # one at a time: no two with one address
    require_stranger(tx, organization_id, email)
    require_room(tx, Member, col(Member.organization_id) == organization_id, MEMBERS_MAX)
    member = Member(
        id=ids.new("user-"),
        organization_id=organization_id,
        email=email,
        name=name,
        role=role,
        created_at=clock.now(),
    )
    tx.add(member)
    tx.flush()
    _record(tx, Action.USER_ADDED, member, actor=actor, after={"email": email, "role": role})
    return member


def get(tx: Session, member_id: str, *, organization_id: str) -> Member:
    """One member. Raises NotFound, for a former one too."""
    found = tx.exec(
        select(Member)
        .where(col(Member.id) == member_id, col(Member.organization_id) == organization_id)
        .where(col(Member.removed_at).is_(None))
    ).first()
    if found is None:
        raise NotFound(f"Your organization has no member with id '{member_id}'.")
    return found


def list_page(
    tx: Session, page: PageRequest, *, organization_id: str, emails: Collection[str] = ()
) -> Page[Member]:
    """One page of an organization's members, or of those with these addresses."""
    where = [col(Member.removed_at).is_(None)]
    if emails:
        where.append(col(Member.email).in_([email.lower() for email in emails]))
    return fetch(tx, Member, page, organization_id=organization_id, where=where)


def require_stranger(tx: Session, organization_id: str, email: str) -> None:
    """Raises Conflict where somebody with this address is a member."""
    known = tx.exec(
        select(Member).where(
            col(Member.organization_id) == organization_id,
            col(Member.email) == email,
            col(Member.removed_at).is_(None),
        )
    ).first()
    if known is not None:
        raise Conflict(f"'{email}' is a member of this organization already: '{known.id}', {known.role}.")


def change_role(tx: Session, caller: Principal, member_id: str, *, role: Role) -> Member:
    """Another role, for the member's keys too, from the next request on. A former owner's pending invitations
    are withdrawn.

    Raises NotFound, NotEntitled for a role that may do more than the caller, Conflict for the last owner.
    """
    organizations.hold(tx, caller.organization_id)  # two owners must not demote each other
    member = get(tx, member_id, organization_id=caller.organization_id)
    if member.role is role:
        return member
    if lower(member.role, role) is member.role:
        require_no_more(caller, role)
    if member.role is Role.OWNER:
        _require_another_owner(tx, member, "demoted")
        _withdraw_invitations(tx, member)
    before, member.role = member.role, role
    _record(
        tx,
        Action.USER_UPDATED,
        member,
        actor=caller.key_id,
        before={"role": before},
        after={"role": role},
    )
    return member


def remove(tx: Session, caller: Principal, member_id: str) -> Member:
    """End a membership, and with it the member's keys and pending invitations, at once.

    Raises NotFound, Conflict for the last owner.
    """
    organizations.hold(tx, caller.organization_id)
    member = get(tx, member_id, organization_id=caller.organization_id)
    if member.role is Role.OWNER:
        _require_another_owner(tx, member, "removed")
    now = clock.now()
    member.removed_at = now
    theirs = (col(ApiKey.member_id) == member.id, col(ApiKey.revoked_at).is_(None))
    ended = tx.exec(update(ApiKey).where(*theirs).values(revoked_at=now).returning(col(ApiKey.id))).all()
    _withdraw_invitations(tx, member)
    _record(
        tx,
        Action.USER_DELETED,
        member,
        actor=caller.key_id,
        before={"email": member.email, "role": member.role},
        after={"revoked_keys": [key_id for (key_id,) in ended]},
    )
    return member


def by_key(tx: Session, organization_id: str, key_ids: Collection[str]) -> Mapping[str, Member]:
    """Whose keys these are, former members too; without those that are nobody's own or another
    organization's."""
    if not key_ids:
        return {}
    found = tx.exec(
        select(ApiKey.id, Member)
        .join(Member, col(Member.id) == col(ApiKey.member_id))
        .where(col(ApiKey.id).in_(key_ids), col(Member.organization_id) == organization_id)
    )
    return dict(found.all())


def key_ids(
    tx: Session, organization_id: str, *, emails: Collection[str] = (), member_ids: Collection[str] = ()
) -> Sequence[str]:
    """All keys that these people have, or had."""
    who = col(Member.email).in_([email.lower() for email in emails]) | col(Member.id).in_(member_ids)
    return tx.exec(
        select(ApiKey.id)
        .join(Member, col(Member.id) == col(ApiKey.member_id))
        .where(col(Member.organization_id) == organization_id, who)
    ).all()


def last_uses(tx: Session, member_ids: Collection[str]) -> Mapping[str, datetime]:
    """When any key of each was last used; without those who never used one."""
    found = tx.exec(
        select(ApiKey.member_id, func.max(col(ApiKey.last_used_at)))
        .where(col(ApiKey.member_id).in_(member_ids), col(ApiKey.last_used_at).is_not(None))
        .group_by(col(ApiKey.member_id))
    )
    return {member_id: moment for member_id, moment in found if member_id and moment}


def _require_another_owner(tx: Session, member: Member, what: str) -> None:
    others = tx.exec(
        select(Member.id)
        .where(col(Member.organization_id) == member.organization_id, col(Member.id) != member.id)
        .where(col(Member.role) == Role.OWNER, col(Member.removed_at).is_(None))
        .limit(1)
    ).first()
    if others is None:
        raise Conflict(
            f"'{member.email}' is the last owner of this organization and cannot be {what}. Make another "
            "member an owner first."
        )


def _withdraw_invitations(tx: Session, member: Member) -> None:
    sent = select(ApiKey.id).where(col(ApiKey.member_id) == member.id)
    pending = (col(Invitation.accepted_at).is_(None), col(Invitation.revoked_at).is_(None))
    tx.execute(
        update(Invitation)
        .where(col(Invitation.invited_by).in_(sent), *pending)
        .values(revoked_at=clock.now())
    )


def _record(
    tx: Session,
    action: Action,
    member: Member,
    *,
    actor: str,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    audit.record(
        tx,
        action,
        organization_id=member.organization_id,
        actor=actor,
        subject_id=member.id,
        before=before,
        after=after,
    )
