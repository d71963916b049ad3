"""Organizations, projects and keys, as their owners and the yard's operator see them."""

from typing import Literal

from pydantic import Field

from api.schemas.wire import Identified, RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.entitlements.tiers import Tier
from orchestrator.organizations.model import ApiKey, Organization, Project, Role


class CreateOrganization(RequestBody):
    """The body of `POST /organizations`."""

    name: Text = Field(min_length=1, max_length=128)
    tier: Text = Field(max_length=32, examples=["developer"])


class ChangeOrganization(RequestBody):
    """The body of `POST /organizations/{id}`."""

    tier: Text = Field(max_length=32, examples=["enterprise"])


class CreateProject(RequestBody):
    """The body of `POST /organizations/{id}/projects`."""

    name: Text = Field(min_length=1, max_length=128)


class CreateKey(RequestBody):
    """The body of `POST /organizations/{id}/api_keys`. Without a project it is the default one."""

    name: Text = Field(min_length=1, max_length=128)
    project_id: Text | None = Field(default=None, max_length=64)
    role: Literal["owner", "developer", "reader", "operator"] = "owner"


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


class OwnOrganization(OrganizationObject):
    """The caller's organization with its plan, so that every limit and its use are in one place."""

    project_id: str
    plan: Tier
    use: BatchUse


class ProjectObject(Identified):
    """A project."""

    object: Literal["organization.project"] = "organization.project"
    organization_id: str
    name: str
    created_at: int

    @classmethod
    def of(cls, project: Project) -> "ProjectObject":
        """The project as the operator sees it."""
        return cls(
            id=project.id,
            organization_id=project.organization_id,
            name=project.name,
            created_at=clock.unix(project.created_at),
        )


class KeyObject(Identified):
    """A key, by its end. `key` itself is in the answer that made it and nowhere else."""

    object: Literal["organization.api_key"] = "organization.api_key"
    project_id: str
    name: str
    role: Role
    hint: str
    created_at: int
    last_used_at: int | None
    revoked_at: int | None
    key: str | None = None

    @classmethod
    def of(cls, row: ApiKey, key: str | None = None) -> "KeyObject":
        """The key as the operator sees it."""
        return cls(
            id=row.id,
            project_id=row.project_id,
            name=row.name,
            role=row.role,
            hint=row.hint,
            created_at=clock.unix(row.created_at),
            last_used_at=clock.unix_or_none(row.last_used_at),
            revoked_at=clock.unix_or_none(row.revoked_at),
            key=key,
        )
