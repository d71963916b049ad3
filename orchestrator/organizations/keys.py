"""Keys: shown once, kept as a SHA-256, ended at once.

Nobody grants more than they have: not a higher role, not a scope that their own key lacks.
"""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.audit.service import SYSTEM
from orchestrator.database.pages import Page, PageRequest, fetch
from orchestrator.errors import Conflict, Invalid, NotFound
from orchestrator.organizations import projects, scopes
from orchestrator.organizations import service as organizations
from orchestrator.organizations.bounds import checked_name, require_room
from orchestrator.organizations.model import ApiKey, Project, Role
from orchestrator.organizations.principal import Principal
from orchestrator.organizations.scopes import Scope

KEYS_MAX = 10_000  # of one organization, revoked ones too
KEY_PREFIX = "yard_sk_"
KEY_RANDOM_BYTES = 32  # 43 characters of base64
HINT_CHARACTERS = 4


def create(
    tx: Session,
    *,
    project_id: str,
    name: str,
    role: Role = Role.OWNER,
    scopes: Collection[Scope] | None = None,
    expires_at: datetime | None = None,
    member_id: str | None = None,
    actor: str = SYSTEM,
) -> tuple[ApiKey, str]:
    """A new key's row, and the key itself, which can never be read again.

    Raises NotFound, Invalid for an unusable name, Conflict beyond KEYS_MAX or in an archived project.
    """
    project = tx.get(Project, project_id)
    if project is None:
        raise NotFound(f"No project with id '{project_id}'.")
    projects.require_open(project)
    require_room(tx, ApiKey, _is_key_of(project.organization_id), KEYS_MAX)
    secret = KEY_PREFIX + secrets.token_urlsafe(KEY_RANDOM_BYTES)
    key = ApiKey(
        id=ids.new("key_"),
        project_id=project.id,
        member_id=member_id,
        name=checked_name(name),
        role=role,
        scopes=None if scopes is None else sorted(scopes),
        hash=hashed(secret),
        hint=secret[-HINT_CHARACTERS:],
        created_at=clock.now(),
        expires_at=expires_at,
    )
    tx.add(key)
    tx.flush()
    audit.record(
        tx,
        Action.API_KEY_CREATED,
        organization_id=project.organization_id,
        project_id=project.id,
        actor=actor,
        subject_id=key.id,
        after={"name": key.name, "role": key.role, "member_id": member_id, **_freedom(key)},
    )
    return key, secret


def grant(
    tx: Session,
    caller: Principal,
    project: Project,
    *,
    name: str,
    role: Role,
    scopes: Collection[Scope] | None,
    expires_at: datetime | None,
    service: bool = False,
) -> tuple[ApiKey, str]:
    """`create`, in the name of somebody: the key is theirs and ends with their membership. A `service` key is
    the project's own; only whoever decides about the organization makes those, and only they make keys of
    other projects with one.

    Raises NotEntitled where it could do more than the caller's.
    """
    _require_no_more(caller, role, scopes)
    at_home = project.organization_id == caller.organization_id
    elsewhere = at_home and caller.member_id is None and project.id != caller.project_id
    if service or elsewhere:  # a project's own key does not leave the project's limits
        _require_decides(caller)
    return create(
        tx,
        project_id=project.id,
        name=name,
        role=role,
        scopes=scopes,
        expires_at=_future(expires_at),
        member_id=caller.member_id if at_home and not service else None,
        actor=caller.key_id,
    )


def get(
    tx: Session,
    key_id: str,
    *,
    organization_id: str,
    project_id: str | None = None,
    roles: Collection[Role] = tuple(Role),
) -> ApiKey:
    """One key of an organization, or of one of its projects. Raises NotFound."""
    found = tx.exec(select(ApiKey).where(col(ApiKey.id) == key_id, _is_key_of(organization_id))).first()
    if found is None or project_id not in (None, found.project_id) or found.role not in roles:
        where = f"Organization '{organization_id}'" if project_id is None else f"Project '{project_id}'"
        raise NotFound(f"{where} has no such API key with id '{key_id}'.")
    return found


def list_page(
    tx: Session,
    page: PageRequest,
    *,
    organization_id: str,
    project_id: str | None = None,
    roles: Collection[Role] = tuple(Role),
    include_revoked: bool = False,
) -> Page[ApiKey]:
    """One page of the keys of an organization, or of one of its projects. Raises NotFound."""
    organizations.get(tx, organization_id)
    within = [_is_key_of(organization_id)]
    if project_id is not None:
        within.append(col(ApiKey.project_id) == project_id)
    where = [col(ApiKey.role).in_(roles)]
    if not include_revoked:
        where.append(col(ApiKey.revoked_at).is_(None))
    return fetch(tx, ApiKey, page, organization_id=None, within=within, where=where)


def among(tx: Session, organization_id: str, key_ids: Collection[str]) -> set[str]:
    """Those of some keys that are this organization's."""
    named = col(ApiKey.id).in_(key_ids)
    return set(tx.exec(select(ApiKey.id).where(named, _is_key_of(organization_id))))


def change(
    tx: Session,
    caller: Principal,
    key: ApiKey,
    *,
    scopes: Collection[Scope] | None,
    expires_at: datetime | None,
) -> ApiKey:
    """Other scopes (an empty collection: all of the role's) or another expiry; None leaves each as it is.

    Raises NotEntitled where the key is not the caller's to change or could do more, Conflict where it has
    ended.
    """
    _require_theirs(caller, key)
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= clock.now()):
        raise Conflict(f"The key '{key.id}' has ended; make a new one.")
    before = _freedom(key)
    if scopes is not None:
        key.scopes = sorted(scopes) or None
    if expires_at is not None:
        key.expires_at = _future(expires_at)
    _require_no_more(caller, key.role, key.scopes)  # of another expiry alone too: it keeps a key alive
    _record(tx, Action.API_KEY_UPDATED, caller, key, before=before, after=_freedom(key))
    return key


def revoke(tx: Session, caller: Principal, key: ApiKey) -> ApiKey:
    """Refuse a key from now on. One that is revoked already stays as it is.

    Raises NotEntitled where the key is not the caller's own, nor the caller one who decides.
    """
    _require_theirs(caller, key)
    if key.revoked_at is None:
        key.revoked_at = clock.now()
        _record(tx, Action.API_KEY_DELETED, caller, key)
    return key


def hashed(secret: str) -> str:
    """What is stored of a secret. It carries 256 random bits, so a fast hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _require_no_more(caller: Principal, role: Role, named: Collection[str] | None) -> None:
    idle = set(named or ()) - scopes.GRANTED[role]
    if idle:
        raise Invalid(
            f"The role '{role}' does not have the scope '{min(idle)}', and scopes only narrow a role. Its "
            f"scopes are: {', '.join(sorted(scopes.GRANTED[role]))}.",
            param="scopes",
        )
    scopes.require_no_more(caller, role, named)


def _require_theirs(caller: Principal, key: ApiKey) -> None:
    own = caller.member_id is not None and key.member_id == caller.member_id
    if not own and key.id != caller.key_id:
        _require_decides(caller)


def _require_decides(caller: Principal) -> None:
    scopes.require(caller, Scope.ORGANIZATION_WRITE)


def _future(moment: datetime | None) -> datetime | None:
    if moment is not None and moment <= clock.now():
        raise Invalid(f"A key expires in the future; {clock.said(moment)} is past.", param="expires_at")
    return moment


def _freedom(key: ApiKey) -> dict[str, object]:
    """What a change changes, as the audit log shows it."""
    return {"scopes": key.scopes, "expires_at": clock.unix_or_none(key.expires_at)}


def _record(
    tx: Session,
    action: Action,
    caller: Principal,
    key: ApiKey,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    project = tx.get_one(Project, key.project_id)
    audit.record(
        tx,
        action,
        organization_id=project.organization_id,
        project_id=project.id,
        actor=caller.key_id,
        subject_id=key.id,
        before=before,
        after=after,
    )


def _is_key_of(organization_id: str) -> ColumnElement[bool]:
    theirs = select(Project.id).where(col(Project.organization_id) == organization_id)
    return col(ApiKey.project_id).in_(theirs)
