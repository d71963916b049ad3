"""The audit log, in OpenAI's shape, with what was there before and after in fields of ours."""

from typing import Any, Literal

from pydantic import ConfigDict

from api.schemas.wire import Identified, Wire
from orchestrator import clock
from orchestrator.audit.model import AuditEntry
from orchestrator.organizations.model import Member

By = Literal["organization", "operator", "system"]


class ActorUser(Wire):
    """A person of the organization, or a former one."""

    id: str
    email: str


class ActorService(Wire):
    """A key that is nobody's own."""

    id: str


class ActorKey(Wire):
    """The key that asked."""

    id: str
    type: Literal["user", "service_account"]
    user: ActorUser | None = None
    service_account: ActorService | None = None


class Actor(Wire):
    """Who made a change. `by` is `operator` for whoever runs the yard, `system` for the yard itself."""

    type: Literal["api_key"] = "api_key"
    by: By
    api_key: ActorKey | None


class EntryProject(Wire):
    """The project that was changed, or that the changed thing belongs to."""

    id: str


class AuditLogObject(Identified):
    """One change. Under a name that is the `type` stand OpenAI's details of it."""

    model_config = ConfigDict(extra="allow")  # the details' name is the type

    object: Literal["organization.audit_log"] = "organization.audit_log"
    type: str
    effective_at: int
    actor: Actor
    project: EntryProject | None
    resource_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @classmethod
    def of(cls, entry: AuditEntry, actor: Actor) -> "AuditLogObject":
        """The entry as everybody in its organization sees it."""
        details: dict[str, Any] = {"id": entry.subject_id}
        if entry.after is not None:
            updated = entry.action.endswith(".updated")
            title = {"title": entry.after["name"]} if entry.action.startswith("project.") else {}
            details["changes_requested" if updated else "data"] = entry.after | title
        fields: dict[str, Any] = {
            "id": entry.id,
            "type": entry.action,
            "effective_at": clock.unix(entry.created_at),
            "actor": actor,
            "project": None if entry.project_id is None else EntryProject(id=entry.project_id),
            "resource_id": entry.subject_id,
            "before": entry.before,
            "after": entry.after,
            entry.action: details,
        }
        return cls(**fields)


def actor_of(key_id: str, member: Member | None, by: By) -> Actor:
    """Whose change it was; `member` is None for a key that is nobody's own."""
    if by == "system":
        return Actor(by=by, api_key=None)
    if member is None:
        service = ActorService(id=key_id)
        return Actor(by=by, api_key=ActorKey(id=key_id, type="service_account", service_account=service))
    user = ActorUser(id=member.id, email=member.email)
    return Actor(by=by, api_key=ActorKey(id=key_id, type="user", user=user))
