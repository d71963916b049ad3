"""For whoever runs the yard: organizations, their tiers, projects and keys. To any other key these
routes answer as if they did not exist."""

from fastapi import APIRouter

from api.auth import Caller
from api.deps import Read, Transaction, YardDep
from api.pagination import OrganizationsPage
from api.schemas.keys import CreateKey, KeyObject
from api.schemas.organizations import ChangeOrganization, CreateOrganization, OrganizationObject
from api.schemas.projects import NameProject, ProjectObject
from api.schemas.wire import Deleted, ListOf
from api.yard import Yard
from orchestrator.database.pages import Order, PageRequest
from orchestrator.entitlements import effective
from orchestrator.errors import Invalid
from orchestrator.organizations import keys, members, projects
from orchestrator.organizations import service as organizations
from orchestrator.organizations.model import Role

router = APIRouter(prefix="/organizations", tags=["Operator"])


@router.post("")
def create_organization(
    body: CreateOrganization, tx: Transaction, yard: YardDep, caller: Caller
) -> OrganizationObject:
    """A new organization in a tier, with a project called `default`."""
    _check_tier(yard, body.tier)
    made = organizations.create(tx, name=body.name, tier=body.tier, actor=caller.key_id)
    return OrganizationObject.of(made)


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
    organization_id: str, body: ChangeOrganization, tx: Transaction, yard: YardDep, caller: Caller
) -> OrganizationObject:
    """Move an organization to another tier, or change what its contract has besides limits and prices: its
    priority within the tier, and whom its people write to. From its next request on."""
    organization = organizations.get(tx, organization_id)
    if body.tier is not None:
        _check_tier(yard, body.tier)
        organizations.set_tier(tx, organization_id=organization_id, tier=body.tier, actor=caller.key_id)
    priority, contact = organization.priority, organization.support_contact
    if body.priority is not None:
        effective.check_priority(yard.tiers, yard.tiers[organization.tier], body.priority)
        priority = body.priority
    if "support_contact" in body.model_fields_set:
        contact = body.support_contact
    organizations.set_contract(
        tx, organization, priority=priority, support_contact=contact, actor=caller.key_id
    )
    return OrganizationObject.of(organization)


@router.post("/{organization_id}/projects")
def create_any_project(
    organization_id: str, body: NameProject, tx: Transaction, caller: Caller
) -> ProjectObject:
    """A new project of an organization."""
    made = projects.create(tx, organization_id=organization_id, name=body.name, actor=caller.key_id)
    return ProjectObject.of(made)


@router.get("/{organization_id}/projects")
def list_any_projects(organization_id: str, tx: Read) -> ListOf[ProjectObject]:
    """An organization's projects, archived ones too, oldest first."""
    page = PageRequest(projects.PROJECTS_MAX, order=Order.ASC)
    found = projects.list_page(tx, page, organization_id=organization_id, include_archived=True)
    return ListOf.of([ProjectObject.of(project) for project in found.rows], has_more=False)


@router.post("/{organization_id}/api_keys")
def create_any_key(organization_id: str, body: CreateKey, tx: Transaction, caller: Caller) -> KeyObject:
    """A new key, of an owner unless told otherwise. `key` in the answer is the only time that it can be
    read."""
    project = projects.get(tx, organization_id, body.project_id)
    row, secret = keys.grant(
        tx,
        caller,
        project,
        name=body.name,
        role=Role(body.role or Role.OWNER),
        scopes=body.scopes,
        expires_at=body.expires(),
    )
    return KeyObject.of(row, None, secret)


@router.get("/{organization_id}/api_keys")
def list_any_keys(organization_id: str, tx: Read) -> ListOf[KeyObject]:
    """An organization's keys by their ends, revoked ones too, oldest first."""
    page = PageRequest(keys.KEYS_MAX, order=Order.ASC)
    found = keys.list_page(tx, page, organization_id=organization_id, include_revoked=True)
    owners = members.by_key(tx, organization_id, [key.id for key in found.rows])
    return ListOf.of([KeyObject.of(row, owners.get(row.id)) for row in found.rows], has_more=False)


@router.delete("/{organization_id}/api_keys/{key_id}")
def revoke_any_key(organization_id: str, key_id: str, tx: Transaction, caller: Caller) -> Deleted:
    """Revoke a key, for good and at once."""
    keys.revoke(tx, caller, keys.get(tx, key_id, organization_id=organization_id))
    return Deleted(id=key_id, object="organization.api_key")


def _check_tier(yard: Yard, name: str) -> None:
    if name not in yard.tiers:
        known = ", ".join(f"'{tier.name}'" for tier in yard.tiers)
        raise Invalid(f"Invalid value: '{name}'. Supported values are: {known}.", param="tier")
