"""A project's keys. A developer makes and revokes their own; an owner, everybody's."""

from typing import Annotated

from fastapi import APIRouter, Depends

from api.auth import Caller
from api.deps import Read, Transaction
from api.pagination import OrganizationPartsPage
from api.schemas.keys import ChangeKey, CreateProjectKey, KeyObject
from api.schemas.wire import Deleted, ListOf
from orchestrator.organizations import keys, members, projects
from orchestrator.organizations.model import ApiKey, Member, Project, Role

router = APIRouter(prefix="/organization/projects/{project_id}/api_keys", tags=["Keys"])


def named_project(project_id: str, tx: Transaction, caller: Caller) -> Project:
    """The project in the path."""
    return projects.get(tx, caller.organization_id, project_id)


def named_key(key_id: str, project_id: str, tx: Transaction, caller: Caller) -> ApiKey:
    """The key in the path."""
    return keys.get(tx, key_id, organization_id=caller.organization_id, project_id=project_id)


Within = Annotated[Project, Depends(named_project)]
Named = Annotated[ApiKey, Depends(named_key)]


@router.post("")
def create_key(body: CreateProjectKey, tx: Transaction, caller: Caller, project: Within) -> KeyObject:
    """A new key of yours, which can do no more than the one that asks. `key` in the answer is the only time
    that it can be read."""
    row, secret = keys.grant(
        tx,
        caller,
        project,
        name=body.name,
        role=Role(body.role),
        scopes=body.scopes,
        expires_at=body.expires(),
        service=body.service,
    )
    return KeyObject.of(row, _owner(tx, row), secret)


@router.get("")
def list_keys(
    tx: Transaction, page: OrganizationPartsPage, caller: Caller, project: Within
) -> ListOf[KeyObject]:
    """A project's keys by their ends, without those that were revoked."""
    found = keys.list_page(tx, page, organization_id=caller.organization_id, project_id=project.id)
    owners = members.by_key(tx, caller.organization_id, [row.id for row in found.rows])
    shown = [KeyObject.of(row, owners.get(row.id)) for row in found.rows]
    return ListOf.of(shown, has_more=found.has_more)


@router.get("/{key_id}")
def retrieve_key(key: Named, tx: Transaction) -> KeyObject:
    """One key, by its end."""
    return KeyObject.of(key, _owner(tx, key))


@router.post("/{key_id}")
def change_key(key: Named, body: ChangeKey, tx: Transaction, caller: Caller) -> KeyObject:
    """Give a key other scopes or another expiry, from its next request on."""
    changed = keys.change(tx, caller, key, scopes=body.scopes, expires_at=body.expires())
    return KeyObject.of(changed, _owner(tx, key))


@router.delete("/{key_id}")
def revoke_key(key: Named, tx: Transaction, caller: Caller) -> Deleted:
    """Revoke a key, for good and at once."""
    keys.revoke(tx, caller, key)
    return Deleted(id=key.id, object="organization.project.api_key.deleted")


def _owner(tx: Read, key: ApiKey) -> Member | None:
    return None if key.member_id is None else tx.get(Member, key.member_id)
