"""Invitations, in OpenAI's shape: it calls them invites."""

from typing import Literal

from pydantic import Field

from api.schemas.keys import KeyObject, RoleName
from api.schemas.members import MemberObject
from api.schemas.wire import Identified, RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.organizations.model import Invitation, Role

VALID_FOR_SECONDS_MIN = 60
VALID_FOR_SECONDS = 7 * 86_400
VALID_FOR_SECONDS_MAX = 30 * 86_400


class SendInvitation(RequestBody):
    """The body of `POST /organization/invites`. Members belong to every project: `projects` names none."""

    email: Text = Field(min_length=3, max_length=256)
    role: RoleName
    projects: list[Text] = Field(default_factory=list, max_length=0)
    expires_in_seconds: int = Field(
        default=VALID_FOR_SECONDS, ge=VALID_FOR_SECONDS_MIN, le=VALID_FOR_SECONDS_MAX
    )


class AcceptInvitation(RequestBody):
    """The body of `POST /organization/invites/accept`, which needs no key."""

    token: Text = Field(min_length=1, max_length=256)
    name: Text = Field(min_length=1, max_length=128)


class InvitationObject(Identified):
    """An offer to join. `token` is in the answer that made it and nowhere else."""

    object: Literal["organization.invite"] = "organization.invite"
    email: str
    role: Role
    status: Literal["accepted", "expired", "pending"]
    projects: list[str]
    created_at: int
    expires_at: int
    accepted_at: int | None
    token: str | None = None

    @classmethod
    def of(cls, invitation: Invitation, token: str | None = None) -> "InvitationObject":
        """The invitation as everybody in the organization sees it; with `token` as its sender does, once."""
        expired = invitation.expires_at <= clock.now()
        status: Literal["expired", "pending"] = "expired" if expired else "pending"
        return cls(
            id=invitation.id,
            email=invitation.email,
            role=invitation.role,
            status="accepted" if invitation.accepted_at is not None else status,
            projects=[],
            created_at=clock.unix(invitation.created_at),
            expires_at=clock.unix(invitation.expires_at),
            accepted_at=clock.unix_or_none(invitation.accepted_at),
            token=token,
        )


class Joined(Wire):
    """What a new member gets: who they are, and a key of their own, shown this once."""

    object: Literal["organization.membership"] = "organization.membership"
    organization_id: str
    organization: str
    user: MemberObject
    api_key: KeyObject
