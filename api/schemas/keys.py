"""Keys, by their ends: the key itself is in the answer that made it and nowhere else."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from api.schemas.wire import Identified, RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.errors import Invalid
from orchestrator.organizations.model import ApiKey, Member, Role
from orchestrator.organizations.scopes import Scope

EXPIRES_IN_SECONDS_MAX = 10 * 366 * 86_400
UNIX_MAX = 253_402_300_799  # the end of the year 9999

RoleName = Literal["owner", "developer", "reader"]


def _scope(value: object) -> object:
    """A scope by its name. The error of an unknown one lists those that there are."""
    return Scope(value) if isinstance(value, str) and value in set(Scope) else value


ScopeName = Annotated[Scope, BeforeValidator(_scope)]  # strict bodies take no text for an enum


class Expiring(RequestBody):
    """When a key ends: at a moment in Unix seconds, or so many seconds from now. Neither: never."""

    expires_at: int | None = Field(default=None, ge=0, le=UNIX_MAX)
    expires_in_seconds: int | None = Field(default=None, ge=1, le=EXPIRES_IN_SECONDS_MAX)

    def expires(self) -> datetime | None:
        """The moment, if one was given. Raises Invalid for two."""
        if self.expires_at is not None and self.expires_in_seconds is not None:
            raise Invalid("Give either 'expires_at' or 'expires_in_seconds'.", param="expires_at")
        if self.expires_at is not None:
            return datetime.fromtimestamp(self.expires_at, UTC)
        if self.expires_in_seconds is not None:
            return clock.now() + timedelta(seconds=self.expires_in_seconds)
        return None


class CreateProjectKey(Expiring):
    """The body of `POST /organization/projects/{id}/api_keys`. Scopes narrow the role; without them the key
    may do all that its role may. A `service` key is the project's, not its maker's."""

    name: Text = Field(min_length=1, max_length=128)
    role: RoleName = "developer"
    scopes: list[ScopeName] | None = None
    service: bool = False


class ChangeKey(Expiring):
    """The body of `POST /organization/projects/{id}/api_keys/{key_id}`. An empty list of scopes takes them
    away: the key may then do all that its role may."""

    scopes: list[ScopeName] | None = None


class CreateKey(Expiring):
    """The body of `POST /organizations/{id}/api_keys`. Without a project it is the oldest one."""

    name: Text = Field(min_length=1, max_length=128)
    project_id: Text | None = Field(default=None, max_length=64)
    role: Literal["owner", "developer", "reader", "operator"] = "owner"
    scopes: list[ScopeName] | None = None


class KeyUser(Wire):
    """The member whose key it is."""

    id: str
    name: str
    email: str
    role: Role
    created_at: int


class KeyService(Wire):
    """What stands for a key that is the project's own."""

    id: str
    name: str
    role: Role
    created_at: int


class KeyOwner(Wire):
    """Whose key it is."""

    type: Literal["user", "service_account"]
    user: KeyUser | None = None
    service_account: KeyService | None = None

    @classmethod
    def of(cls, row: ApiKey, member: Member | None) -> "KeyOwner":
        """The owner of a key, None being the project itself."""
        created_at = clock.unix((member or row).created_at)
        if member is None:
            service = KeyService(id=row.id, name=row.name, role=row.role, created_at=created_at)
            return cls(type="service_account", service_account=service)
        user = KeyUser(
            id=member.id, name=member.name, email=member.email, role=member.role, created_at=created_at
        )
        return cls(type="user", user=user)


class KeyObject(Identified):
    """A key: what it may do, whose it is, and how it is told from others."""

    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    project_id: str
    name: str
    role: Role
    scopes: list[str] | None
    hint: str
    redacted_value: str
    owner: KeyOwner
    owner_project_access: Literal["active", "inactive"]
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None
    key: str | None = None

    @classmethod
    def of(cls, row: ApiKey, owner: Member | None, key: str | None = None) -> "KeyObject":
        """The key as everybody in its organization sees it; with `key` as its maker does, once."""
        return cls(
            id=row.id,
            project_id=row.project_id,
            name=row.name,
            role=row.role,
            scopes=row.scopes,
            hint=row.hint,
            redacted_value=f"yard_sk_…{row.hint}",
            owner=KeyOwner.of(row, owner),
            owner_project_access="active" if row.revoked_at is None else "inactive",
            created_at=clock.unix(row.created_at),
            expires_at=clock.unix_or_none(row.expires_at),
            last_used_at=clock.unix_or_none(row.last_used_at),
            revoked_at=clock.unix_or_none(row.revoked_at),
            key=key,
        )
