"""The people of an organization, at OpenAI's path for users. Everybody in it sees them; an owner decides."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.auth import Caller
from api.deps import Read, Transaction
from api.pagination import OrganizationPartsPage
from api.schemas.members import ChangeMember, MemberObject
from api.schemas.wire import Deleted, ListOf
from orchestrator.organizations import members
from orchestrator.organizations.model import Member, Role

EMAILS_MAX = 100

router = APIRouter(prefix="/organization/users", tags=["Members"])


@router.get("")
def list_users(
    tx: Read,
    page: OrganizationPartsPage,
    caller: Caller,
    emails: Annotated[list[str] | None, Query(alias="emails[]", max_length=EMAILS_MAX)] = None,
) -> ListOf[MemberObject]:
    """Your organization's members."""
    found = members.list_page(tx, page, organization_id=caller.organization_id, emails=emails or ())
    used = members.last_uses(tx, [member.id for member in found.rows])
    shown = [MemberObject.of(member, used.get(member.id)) for member in found.rows]
    return ListOf.of(shown, has_more=found.has_more)


@router.get("/{user_id}")
def retrieve_user(user_id: str, tx: Read, caller: Caller) -> MemberObject:
    """One member."""
    return _shown(tx, members.get(tx, user_id, organization_id=caller.organization_id))


@router.post("/{user_id}")
def update_user(user_id: str, body: ChangeMember, tx: Transaction, caller: Caller) -> MemberObject:
    """Give a member another role. Their keys do no more than it allows from their next request on."""
    return _shown(tx, members.change_role(tx, caller, user_id, role=Role(body.role)))


@router.delete("/{user_id}")
def delete_user(user_id: str, tx: Transaction, caller: Caller) -> Deleted:
    """End a membership. The member's keys are revoked at once; what they made stays."""
    members.remove(tx, caller, user_id)
    return Deleted(id=user_id, object="organization.user.deleted")


def _shown(tx: Read, member: Member) -> MemberObject:
    return MemberObject.of(member, members.last_uses(tx, [member.id]).get(member.id))
