"""An organization's projects. Everybody in it sees them; an owner makes, renames and archives them."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.auth import Caller
from api.deps import Read, Transaction
from api.pagination import OrganizationPartsPage
from api.schemas.projects import NameProject, ProjectObject
from api.schemas.wire import ListOf
from orchestrator.organizations import projects

router = APIRouter(prefix="/organization/projects", tags=["Projects"])


@router.post("")
def create_project(body: NameProject, tx: Transaction, caller: Caller) -> ProjectObject:
    """A new project, without a key."""
    made = projects.create(tx, organization_id=caller.organization_id, name=body.name, actor=caller.key_id)
    return ProjectObject.of(made)


@router.get("")
def list_projects(
    tx: Read,
    page: OrganizationPartsPage,
    caller: Caller,
    include_archived: Annotated[bool, Query()] = False,
) -> ListOf[ProjectObject]:
    """Your organization's projects."""
    found = projects.list_page(
        tx, page, organization_id=caller.organization_id, include_archived=include_archived
    )
    return ListOf.of([ProjectObject.of(project) for project in found.rows], has_more=found.has_more)


@router.get("/{project_id}")
def retrieve_project(project_id: str, tx: Read, caller: Caller) -> ProjectObject:
    """One project."""
    return ProjectObject.of(projects.get(tx, caller.organization_id, project_id))


@router.post("/{project_id}")
def update_project(project_id: str, body: NameProject, tx: Transaction, caller: Caller) -> ProjectObject:
    """Rename a project."""
    project = projects.get(tx, caller.organization_id, project_id)
    return ProjectObject.of(projects.rename(tx, project, name=body.name, actor=caller.key_id))


@router.post("/{project_id}/archive")
def archive_project(project_id: str, tx: Transaction, caller: Caller) -> ProjectObject:
    """Refuse a project's keys from now on. What runs goes on, and all that the project made stays."""
    return ProjectObject.of(projects.archive(tx, caller, project_id=project_id))
