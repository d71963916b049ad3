"""Organizations, as their people and the yard's operator see them."""

from typing import Literal

from pydantic import Field

from api.schemas.wire import Identified, RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.entitlements.tiers import Tier
from orchestrator.organizations.model import Organization, Role
from orchestrator.organizations.scopes import Scope


class CreateOrganization(RequestBody):
    """The body of `POST /organizations`."""

    name: Text = Field(min_length=1, max_length=128)
    tier: Text = Field(max_length=32, examples=["developer"])


class ChangeOrganization(RequestBody):
    """The body of `POST /organizations/{id}`."""

    tier: Text = Field(max_length=32, examples=["enterprise"])


class OrganizationObject(Identified):
    """An organization."""

    object: Literal["organization"] = "organization"
    name: str
    tier: str
    created_at: int

    @classmethod
    def of(cls, organization: Organization) -> "OrganizationObject":
        """The organization as the operator sees it."""
        return cls(
            id=organization.id,
            name=organization.name,
            tier=organization.tier,
            created_at=clock.unix(organization.created_at),
        )


class BatchUse(Wire):
    """What counts against the plan's limits just now. Tokens are estimates until a file is
    prepared."""

    live_batches: int
    batch_lines_today: int
    queued_tokens: dict[str, int]


class OwnKey(Wire):
    """The key that asks, and all that it may do."""

    id: str
    role: Role
    scopes: list[Scope]
    member_id: str | None


class OwnOrganization(OrganizationObject):
    """The caller's organization with its plan, so that every limit and its use are in one place."""

    project_id: str
    key: OwnKey
    plan: Tier
    use: BatchUse
