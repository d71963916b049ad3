"""Members, in OpenAI's shape: it calls them users."""

from datetime import datetime
from typing import Literal

from api.schemas.keys import RoleName
from api.schemas.wire import Identified, RequestBody
from orchestrator import clock
from orchestrator.organizations.model import Member, Role


class ChangeMember(RequestBody):
    """The body of `POST /organization/users/{id}`."""

    role: RoleName


class MemberObject(Identified):
    """A person of the organization."""

    object: Literal["organization.user"] = "organization.user"
    email: str
    name: str
    role: Role
    added_at: int
    api_key_last_used_at: int | None

    @classmethod
    def of(cls, member: Member, last_used_at: datetime | None) -> "MemberObject":
        """The member as everybody in the organization sees them."""
        return cls(
            id=member.id,
            email=member.email,
            name=member.name,
            role=member.role,
            added_at=clock.unix(member.created_at),
            api_key_last_used_at=clock.unix_or_none(last_used_at),
        )
