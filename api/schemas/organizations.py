"""Organizations, as their people and the yard's operator see them."""

from typing import Literal

from pydantic import Field

from api.schemas.reservations import ReservationObject
from api.schemas.wire import Identified, RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.entitlements.tiers import PRIORITY_MAX, Tier
from orchestrator.organizations.model import Organization, Role
from orchestrator.organizations.scopes import Scope


class CreateOrganization(RequestBody):
    """The body of `POST /organizations`."""

    name: Text = Field(min_length=1, max_length=128)
    tier: Text = Field(max_length=32, examples=["developer"])


class ChangeOrganization(RequestBody):
    """The body of `POST /organizations/{id}`; what is left out stays as it is. `priority` is added to the
    tier's, so a negative one is sooner; a `support_contact` of null is the tier's."""

    tier: Text | None = Field(default=None, max_length=32, examples=["enterprise"])
    priority: int | None = Field(default=None, ge=-PRIORITY_MAX, le=PRIORITY_MAX)
    support_contact: Text | None = Field(default=None, min_length=1, max_length=256)


class OrganizationObject(Identified):
    """An organization."""

    object: Literal["organization"] = "organization"
    name: str
    tier: str
    limits: dict[str, int | None]
    priority: int
    support_contact: str | None
    created_at: int

    @classmethod
    def of(cls, organization: Organization) -> "OrganizationObject":
        """The organization with what its contract has: limits in place of the tier's, an added priority."""
        return cls(
            id=organization.id,
            name=organization.name,
            tier=organization.tier,
            limits=organization.limits,
            priority=organization.priority,
            support_contact=organization.support_contact,
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
    """The caller's organization with its plan, so that every limit and its use are in one place: `plan` is
    the tier with what the contract puts in place of it, `reserved` the capacity that is always there."""

    project_id: str
    key: OwnKey
    plan: Tier
    reserved: list[ReservationObject]
    use: BatchUse
