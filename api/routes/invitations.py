"""Invitations to an organization, at OpenAI's path for invites. An owner sends and withdraws them."""

from datetime import timedelta

from fastapi import APIRouter

from api.auth import Caller
from api.deps import Read, Transaction
from api.pagination import OrganizationPartsPage
from api.schemas.invitations import InvitationObject, SendInvitation
from api.schemas.wire import Deleted, ListOf
from orchestrator.organizations import invitations
from orchestrator.organizations.model import Role

router = APIRouter(prefix="/organization/invites", tags=["Members"])


@router.post("")
def create_invite(body: SendInvitation, tx: Transaction, caller: Caller) -> InvitationObject:
    """Invite somebody. Hand over the `token` of the answer, which is the only time that it can be read: the
    yard sends no mail."""
    invitation, token = invitations.send(
        tx,
        caller,
        email=body.email,
        role=Role(body.role),
        valid_for=timedelta(seconds=body.expires_in_seconds),
    )
    return InvitationObject.of(invitation, token)


@router.get("")
def list_invites(tx: Read, page: OrganizationPartsPage, caller: Caller) -> ListOf[InvitationObject]:
    """Your organization's invitations, accepted and expired ones too."""
    found = invitations.list_page(tx, page, organization_id=caller.organization_id)
    return ListOf.of([InvitationObject.of(row) for row in found.rows], has_more=found.has_more)


@router.get("/{invite_id}")
def retrieve_invite(invite_id: str, tx: Read, caller: Caller) -> InvitationObject:
    """One invitation."""
    return InvitationObject.of(invitations.get(tx, invite_id, organization_id=caller.organization_id))


@router.delete("/{invite_id}")
def delete_invite(invite_id: str, tx: Transaction, caller: Caller) -> Deleted:
    """Withdraw an invitation: its token is refused from now on."""
    invitations.withdraw(tx, caller, invite_id)
    return Deleted(id=invite_id, object="organization.invite.deleted")
