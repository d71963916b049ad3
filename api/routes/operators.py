"""For whoever runs the yard: organizations, their tiers, projects and keys. To any other key these
routes answer as if they did not exist."""

from fastapi import APIRouter

from api.deps import Read, Transaction, YardDep
from api.pagination import OrganizationsPage
from api.schemas.organizations import (
    ChangeOrganization,
    CreateKey,
    CreateOrganization,
    CreateProject,
    KeyObject,
    OrganizationObject,
    ProjectObject,
)
from api.schemas.wire import Deleted, ListOf
from api.yard import Yard
from orchestrator.errors import Invalid
from orchestrator.organizations import service as organizations
from orchestrator.organizations.model import Role

router = APIRouter(prefix="/organizations", tags=["Operator"])


@router.post("")
def create_organization(body: CreateOrganization, tx: Transaction, yard: YardDep) -> OrganizationObject:
    """A new organization in a tier, with a project called `default`."""
    _check_tier(yard, body.tier)
    return OrganizationObject.of(organizations.create(tx, name=body.name, tier=body.tier))


@router.get("")
def list_organizations(tx: Read, page: OrganizationsPage) -> ListOf[OrganizationObject]:
    """Every organization, newest first."""
    found = organizations.list_page(tx, page)
    shown = [OrganizationObject.of(organization) for organization in found.rows]
    return ListOf.of(shown, has_more=found.has_more)


@router.get("/{organization_id}")
def retrieve_any_organization(organization_id: str, tx: Read) -> OrganizationObject:
    """One organization."""
    return OrganizationObject.of(organizations.get(tx, organization_id))


@router.post("/{organization_id}")
def change_organization(
    organization_id: str,
    body: ChangeOrganization,
    tx: Transaction,
    yard: YardDep,
) -> OrganizationObject:
    """Move an organization to another tier, from its next request on."""
    _check_tier(yard, body.tier)
    changed = organizations.set_tier(tx, organization_id=organization_id, tier=body.tier)
    return OrganizationObject.of(changed)


@router.post("/{organization_id}/projects")
def create_project(organization_id: str, body: CreateProject, tx: Transaction) -> ProjectObject:
    """A new project of an organization."""
    project = organizations.create_project(tx, organization_id=organization_id, name=body.name)
    return ProjectObject.of(project)


@router.get("/{organization_id}/projects")
def list_projects(organization_id: str, tx: Read) -> ListOf[ProjectObject]:
    """An organization's projects, oldest first."""
    found = organizations.projects(tx, organization_id)
    return ListOf.of([ProjectObject.of(project) for project in found], has_more=False)


@router.post("/{organization_id}/api_keys")
def create_key(organization_id: str, body: CreateKey, tx: Transaction) -> KeyObject:
    """A new key. `key` in the answer is the only time that it can be read."""
    project_id = organizations.project_of(tx, organization_id, body.project_id).id
    row, secret = organizations.create_key(tx, project_id=project_id, name=body.name, role=Role(body.role))
    return KeyObject.of(row, secret)


@router.get("/{organization_id}/api_keys")
def list_keys(organization_id: str, tx: Read) -> ListOf[KeyObject]:
    """An organization's keys by their ends, revoked ones too, oldest first."""
    found = organizations.keys(tx, organization_id)
    return ListOf.of([KeyObject.of(row) for row in found], has_more=False)


@router.delete("/{organization_id}/api_keys/{key_id}")
def revoke_key(organization_id: str, key_id: str, tx: Transaction) -> Deleted:
    """Revoke a key, for good and at once."""
    organizations.revoke_key(tx, organization_id=organization_id, key_id=key_id)
    return Deleted(id=key_id, object="organization.api_key")


def _check_tier(yard: Yard, name: str) -> None:
    if name not in yard.tiers:
        known = ", ".join(f"'{tier.name}'" for tier in yard.tiers)
        raise Invalid(f"Invalid value: '{name}'. Supported values are: {known}.", param="tier")
