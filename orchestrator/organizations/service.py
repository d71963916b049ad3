"""Organizations. Whether a tier exists is the caller's check."""

from sqlmodel import Session

from orchestrator import clock, ids
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.audit.service import SYSTEM
from orchestrator.database.pages import Page, PageRequest, fetch
from orchestrator.errors import NotFound
from orchestrator.organizations.bounds import checked_name
from orchestrator.organizations.model import Organization, Project

DEFAULT_PROJECT = "default"


def create(tx: Session, *, name: str, tier: str, actor: str = SYSTEM) -> Organization:
    """A new organization with a project called `default`. Raises Invalid for an unusable name."""
    organization = Organization(
        id=ids.new("org_"), name=checked_name(name), tier=tier, created_at=clock.now()
    )
    tx.add(organization)
    tx.flush()
    tx.add(
        Project(
            id=ids.new("proj_"),
            organization_id=organization.id,
            name=DEFAULT_PROJECT,
            created_at=clock.now(),
        )
    )
    audit.record(
        tx,
        Action.ORGANIZATION_CREATED,
        organization_id=organization.id,
        actor=actor,
        subject_id=organization.id,
        after={"name": organization.name, "tier": tier},
    )
    tx.flush()
    return organization


def get(tx: Session, organization_id: str) -> Organization:
    """One organization. Raises NotFound."""
    organization = tx.get(Organization, organization_id)
    if organization is None:
        raise NotFound(f"No organization with id '{organization_id}'.")
    return organization


def hold(tx: Session, organization_id: str) -> Organization:
    """Lock the organization's row, so that its limits are checked for one new thing at a time. Its key
    stays shared: rows that refer to it are not held up."""
    return tx.get_one(Organization, organization_id, with_for_update={"key_share": True})


def list_page(tx: Session, page: PageRequest) -> Page[Organization]:
    """One page of all organizations."""
    return fetch(tx, Organization, page, organization_id=None)


def set_tier(tx: Session, *, organization_id: str, tier: str, actor: str = SYSTEM) -> Organization:
    """Move an organization to another tier. Raises NotFound."""
    organization = get(tx, organization_id)
    if organization.tier != tier:
        audit.record(
            tx,
            Action.TIER_UPDATED,
            organization_id=organization.id,
            actor=actor,
            subject_id=organization.id,
            before={"tier": organization.tier},
            after={"tier": tier},
        )
        organization.tier = tier
    return organization


def set_contract(
    tx: Session, organization: Organization, *, priority: int, support_contact: str | None, actor: str
) -> None:
    """What a contract adds to the tier's priority, and whom its people write to. Whether the tier has such a
    priority is the caller's check."""
    before = {"priority": organization.priority, "support_contact": organization.support_contact}
    after = {"priority": priority, "support_contact": support_contact}
    changed = [name for name in after if after[name] != before[name]]
    if not changed:
        return
    organization.priority, organization.support_contact = priority, support_contact
    audit.record(
        tx,
        Action.ORGANIZATION_UPDATED,
        organization_id=organization.id,
        actor=actor,
        subject_id=organization.id,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
    )
