"""Keys of one organization, to try out what they may do to each other."""

from collections.abc import Collection

from sqlmodel import Session

from orchestrator.organizations import keys, members, projects
from orchestrator.organizations import service as organizations
from orchestrator.organizations.authentication import authenticate
from orchestrator.organizations.model import Organization, Role
from orchestrator.organizations.principal import Principal
from orchestrator.organizations.scopes import Scope


def make_bearer(
    tx: Session,
    role: Role = Role.OWNER,
    *,
    organization: Organization | None = None,
    scopes: Collection[Scope] | None = None,
    email: str | None = None,
) -> Principal:
    """Who bears a new key, in a new organization unless told otherwise; with an address, a member's."""
    organization = organization or organizations.create(tx, name="Acme", tier="free")
    member_id = None
    if email is not None:
        own = organization.id
        member_id = members.add(tx, organization_id=own, email=email, name="A", role=role, actor="system").id
    _, secret = keys.create(
        tx,
        project_id=projects.get(tx, organization.id, None).id,
        name="test",
        role=role,
        scopes=scopes,
        member_id=member_id,
    )
    return authenticate(tx, secret)
