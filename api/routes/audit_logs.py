"""Who changed what in an organization: keys, people, projects, tier, limits, prices."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel import Session

from api.auth import Caller
from api.deps import Read
from api.pagination import OrganizationPartsPage
from api.schemas.audit_logs import AuditLogObject, By, actor_of
from api.schemas.keys import UNIX_MAX
from api.schemas.wire import ListOf
from orchestrator.audit import service as audit
from orchestrator.audit.model import AuditEntry
from orchestrator.audit.service import SYSTEM, Sought
from orchestrator.organizations import keys, members

SOUGHT_MAX = 100  # of each filter

router = APIRouter(prefix="/organization", tags=["Audit log"])


def _any_of(name: str) -> object:
    return Query(alias=f"{name}[]", max_length=SOUGHT_MAX)


def _moment(name: str) -> object:
    return Query(alias=f"effective_at[{name}]", ge=0, lt=UNIX_MAX)


Strings = list[str] | None


@router.get("/audit_logs")
def list_audit_logs(
    tx: Read,
    page: OrganizationPartsPage,
    caller: Caller,
    event_types: Annotated[Strings, _any_of("event_types")] = None,
    actor_ids: Annotated[Strings, _any_of("actor_ids")] = None,
    actor_emails: Annotated[Strings, _any_of("actor_emails")] = None,
    resource_ids: Annotated[Strings, _any_of("resource_ids")] = None,
    project_ids: Annotated[Strings, _any_of("project_ids")] = None,
    gt: Annotated[int | None, _moment("gt")] = None,
    gte: Annotated[int | None, _moment("gte")] = None,
    lt: Annotated[int | None, _moment("lt")] = None,
    lte: Annotated[int | None, _moment("lte")] = None,
) -> ListOf[AuditLogObject]:
    """Every change of a key, a member, a project, the tier, a limit or a price, newest first."""
    since = [moment for moment in (gte, None if gt is None else gt + 1) if moment is not None]
    until = [moment for moment in (lt, None if lte is None else lte + 1) if moment is not None]
    sought = Sought(
        actions=event_types,
        actors=_keys_of(tx, caller.organization_id, actor_ids, actor_emails),
        subjects=resource_ids,
        projects=project_ids,
        since=datetime.fromtimestamp(max(since), UTC) if since else None,
        until=datetime.fromtimestamp(min(until), UTC) if until else None,
    )
    found = audit.list_page(tx, page, sought, organization_id=caller.organization_id)
    return ListOf.of(_shown(tx, caller.organization_id, found.rows), has_more=found.has_more)


def _keys_of(tx: Session, organization_id: str, ids: Strings, emails: Strings) -> list[str] | None:
    """The keys that these people bear, and those that are named themselves. None: nobody is named."""
    if ids is None and emails is None:
        return None
    theirs = members.key_ids(tx, organization_id, emails=emails or (), member_ids=ids or ())
    return [*theirs, *(ids or ())]


def _shown(tx: Session, organization_id: str, entries: Sequence[AuditEntry]) -> list[AuditLogObject]:
    actors = {entry.actor for entry in entries}
    owners = members.by_key(tx, organization_id, actors)
    ours = keys.among(tx, organization_id, actors)
    shown = []
    for entry in entries:
        by: By = "system" if entry.actor == SYSTEM else "organization" if entry.actor in ours else "operator"
        shown.append(AuditLogObject.of(entry, actor_of(entry.actor, owners.get(entry.actor), by)))
    return shown
