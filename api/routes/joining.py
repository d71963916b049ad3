"""Accepting an invitation. Its token is all that this asks for: whoever joins has no key yet."""

from fastapi import APIRouter

from api.deps import Transaction
from api.schemas.invitations import AcceptInvitation, Joined
from api.schemas.keys import KeyObject
from api.schemas.members import MemberObject
from orchestrator.organizations import invitations
from orchestrator.organizations import service as organizations

router = APIRouter(tags=["Members"])


@router.post("/organization/invites/accept")
def accept_invite(body: AcceptInvitation, tx: Transaction) -> Joined:
    """Become a member. `api_key.key` in the answer is your own key, and the only time that it can be read."""
    member, key, secret = invitations.accept(tx, token=body.token, name=body.name)
    return Joined(
        organization_id=member.organization_id,
        organization=organizations.get(tx, member.organization_id).name,
        user=MemberObject.of(member, None),
        api_key=KeyObject.of(key, member, secret),
    )
