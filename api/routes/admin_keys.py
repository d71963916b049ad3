"""The keys that may decide about an organization, at OpenAI's path for admin keys: those of the role
`owner`.
"""

from datetime import timedelta

from fastapi import APIRouter
from sqlmodel import Session

from api.auth import Caller
from api.deps import Read, Transaction
from api.pagination import OrganizationPartsPage
from api.schemas.admin_keys import AdminKeyObject, CreateAdminKey
from api.schemas.wire import Deleted, ListOf
from orchestrator import clock
from orchestrator.organizations import keys, members, projects
from orchestrator.organizations.model import ApiKey, Member, Role
from orchestrator.organizations.principal import Principal

router = APIRouter(prefix="/organization/admin_api_keys", tags=["Keys"])


@router.post("")
def create_admin_key(body: CreateAdminKey, tx: Transaction, caller: Caller) -> AdminKeyObject:
    """A new key of yours with the role `owner`, in the project of the key that asks. `value` in the answer is
    the only time that it can be read."""
    seconds = body.expires_in_seconds
    row, secret = keys.grant(
        tx,
        caller,
        projects.get(tx, caller.organization_id, caller.project_id),
        name=body.name,
        role=Role.OWNER,
        scopes=None,
        expires_at=None if seconds is None else clock.now() + timedelta(seconds=seconds),
    )
    return AdminKeyObject.of(row, _owner(tx, row), secret)


@router.get("")
def list_admin_keys(tx: Read, page: OrganizationPartsPage, caller: Caller) -> ListOf[AdminKeyObject]:
    """The keys of the role `owner`, by their ends."""
    found = keys.list_page(tx, page, organization_id=caller.organization_id, roles=[Role.OWNER])
    owners = members.by_key(tx, caller.organization_id, [row.id for row in found.rows])
    shown = [AdminKeyObject.of(row, owners.get(row.id)) for row in found.rows]
    return ListOf.of(shown, has_more=found.has_more)


@router.get("/{key_id}")
def retrieve_admin_key(key_id: str, tx: Read, caller: Caller) -> AdminKeyObject:
    """One key, by its end."""
    row = _named(tx, caller, key_id)
    return AdminKeyObject.of(row, _owner(tx, row))


@router.delete("/{key_id}")
def revoke_admin_key(key_id: str, tx: Transaction, caller: Caller) -> Deleted:
    """Revoke a key, for good and at once."""
    keys.revoke(tx, caller, _named(tx, caller, key_id))
    return Deleted(id=key_id, object="organization.admin_api_key.deleted")


def _named(tx: Session, caller: Principal, key_id: str) -> ApiKey:
    return keys.get(tx, key_id, organization_id=caller.organization_id, roles=[Role.OWNER])


def _owner(tx: Session, key: ApiKey) -> Member | None:
    return None if key.member_id is None else tx.get(Member, key.member_id)
