"""Keys that administer an organization, in OpenAI's shape: here they are the keys of its owners' role."""

from typing import Literal

from pydantic import Field

from api.schemas.keys import EXPIRES_IN_SECONDS_MAX
from api.schemas.wire import Identified, RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.organizations.model import ApiKey, Member, Role


class CreateAdminKey(RequestBody):
    """The body of `POST /organization/admin_api_keys`."""

    name: Text = Field(min_length=1, max_length=128)
    expires_in_seconds: int | None = Field(default=None, ge=1, le=EXPIRES_IN_SECONDS_MAX)


class AdminKeyOwner(Wire):
    """Whose key it is: a member's, or, as a service account, nobody's own."""

    type: Literal["user", "service_account"]
    object: Literal["organization.user", "organization.service_account"]
    id: str
    name: str
    role: Role
    created_at: int


class AdminKeyObject(Identified):
    """A key that may decide about the organization. `value` is in the answer that made it, nowhere else."""

    object: Literal["organization.admin_api_key"] = "organization.admin_api_key"
    name: str
    redacted_value: str
    owner: AdminKeyOwner
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    value: str | None = None

    @classmethod
    def of(cls, row: ApiKey, member: Member | None, value: str | None = None) -> "AdminKeyObject":
        """The key as everybody in its organization sees it; with `value` as its maker does, once."""
        owner = AdminKeyOwner(
            type="service_account" if member is None else "user",
            object="organization.service_account" if member is None else "organization.user",
            id=(member or row).id,
            name=(member or row).name,
            role=(member or row).role,
            created_at=clock.unix((member or row).created_at),
        )
        return cls(
            id=row.id,
            name=row.name,
            redacted_value=f"yard_sk_…{row.hint}",
            owner=owner,
            created_at=clock.unix(row.created_at),
            expires_at=clock.unix_or_none(row.expires_at),
            last_used_at=clock.unix_or_none(row.last_used_at),
            value=value,
        )
