"""Projects, in OpenAI's shape."""

from typing import Literal

from pydantic import Field

from api.schemas.wire import Identified, RequestBody, Text
from orchestrator import clock
from orchestrator.organizations.model import Project


class NameProject(RequestBody):
    """The body of `POST …/projects` and `POST …/projects/{id}`."""

    name: Text = Field(min_length=1, max_length=128)


class ProjectObject(Identified):
    """A part of an organization with keys, limits and figures of its own."""

    object: Literal["organization.project"] = "organization.project"
    organization_id: str
    name: str
    status: Literal["active", "archived"]
    created_at: int
    archived_at: int | None

    @classmethod
    def of(cls, project: Project) -> "ProjectObject":
        """The project as everybody in its organization sees it."""
        return cls(
            id=project.id,
            organization_id=project.organization_id,
            name=project.name,
            status="active" if project.archived_at is None else "archived",
            created_at=clock.unix(project.created_at),
            archived_at=clock.unix_or_none(project.archived_at),
        )
