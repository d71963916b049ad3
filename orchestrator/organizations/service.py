"""Organizations, their projects and keys. Whether a tier exists is the caller's check."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, func, or_, update
from sqlmodel import Session, SQLModel, col, select

from orchestrator import clock, ids
from orchestrator.database.pages import Page, PageRequest, fetch
from orchestrator.errors import Conflict, Invalid, NotFound, Unauthenticated
from orchestrator.organizations.model import ApiKey, Organization, Project, Role
from orchestrator.organizations.principal import Principal

DEFAULT_PROJECT = "default"
NAME_CHARACTERS_MAX = 128
PROJECTS_MAX = 1_000  # of one organization; so that listing them is bounded
KEYS_MAX = 10_000  # of one organization, revoked ones too
KEY_PREFIX = "yard_sk_"
KEY_RANDOM_BYTES = 32  # 43 characters of base64
HINT_CHARACTERS = 4
USE_NOTED_EVERY = timedelta(minutes=1)


def create(tx: Session, *, name: str, tier: str) -> Organization:
    """A new organization with a project called `default`. Raises Invalid for an unusable name."""
    organization = Organization(
        id=ids.new("org_"), name=_checked_name(name), tier=tier, created_at=clock.now()
    )
    tx.add(organization)
    tx.flush()
    create_project(tx, organization_id=organization.id, name=DEFAULT_PROJECT)
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


def set_tier(tx: Session, *, organization_id: str, tier: str) -> Organization:
    """Move an organization to another tier. Raises NotFound."""
    organization = get(tx, organization_id)
    organization.tier = tier
    return organization


def create_project(tx: Session, *, organization_id: str, name: str) -> Project:
    """A new project. Raises NotFound, Invalid for a bad name, Conflict beyond PROJECTS_MAX."""
    organization = get(tx, organization_id)
    _require_room(tx, Project, col(Project.organization_id) == organization.id, PROJECTS_MAX)
    project = Project(
        id=ids.new("proj_"),
        organization_id=organization.id,
        name=_checked_name(name),
        created_at=clock.now(),
    )
    tx.add(project)
    tx.flush()
    return project


def projects(tx: Session, organization_id: str) -> Sequence[Project]:
    """An organization's projects, oldest first. Raises NotFound."""
    get(tx, organization_id)
    return tx.exec(
        select(Project)
        .where(col(Project.organization_id) == organization_id)
        .order_by(col(Project.created_at), col(Project.id))
        .limit(PROJECTS_MAX)
    ).all()


def project_of(tx: Session, organization_id: str, project_id: str | None) -> Project:
    """One project of an organization; None: its first one, `default`. Raises NotFound."""
    for project in projects(tx, organization_id):
        if project_id in (None, project.id):
            return project
    raise NotFound(f"Organization '{organization_id}' has no project with id '{project_id}'.")


def create_key(tx: Session, *, project_id: str, name: str, role: Role = Role.OWNER) -> tuple[ApiKey, str]:
    """A new key's row, and the key itself, which can never be read again.

    Raises NotFound, Invalid for an unusable name, Conflict beyond KEYS_MAX.
    """
    project = tx.get(Project, project_id)
    if project is None:
        raise NotFound(f"No project with id '{project_id}'.")
    _require_room(tx, ApiKey, _is_key_of(project.organization_id), KEYS_MAX)
    secret = KEY_PREFIX + secrets.token_urlsafe(KEY_RANDOM_BYTES)
    key = ApiKey(
        id=ids.new("key_"),
        project_id=project.id,
        name=_checked_name(name),
        role=role,
        hash=_hash(secret),
        hint=secret[-HINT_CHARACTERS:],
        created_at=clock.now(),
    )
    tx.add(key)
    tx.flush()
    return key, secret


def keys(tx: Session, organization_id: str) -> Sequence[ApiKey]:
    """An organization's keys, revoked ones too, oldest first. Raises NotFound."""
    get(tx, organization_id)
    return tx.exec(
        select(ApiKey)
        .where(_is_key_of(organization_id))
        .order_by(col(ApiKey.created_at), col(ApiKey.id))
        .limit(KEYS_MAX)
    ).all()


def revoke_key(tx: Session, *, organization_id: str, key_id: str) -> ApiKey:
    """Refuse a key from now on. One that is revoked already stays as it is. Raises NotFound."""
    key = tx.exec(select(ApiKey).where(col(ApiKey.id) == key_id, _is_key_of(organization_id))).first()
    if key is None:
        raise NotFound(f"Organization '{organization_id}' has no API key with id '{key_id}'.")
    if key.revoked_at is None:
        key.revoked_at = clock.now()
    return key


def authenticate(tx: Session, secret: str) -> Principal:
    """Who bears this key; notes, at most once a minute, that it was used. Raises Unauthenticated.

    The look-up is by hash, so its time says nothing about how much of a guess was right.
    """
    found = tx.exec(
        select(ApiKey, Project, Organization)
        .join(Project, col(Project.id) == col(ApiKey.project_id))
        .join(Organization, col(Organization.id) == col(Project.organization_id))
        .where(col(ApiKey.hash) == _hash(secret))
    ).first()
    if found is None:
        raise Unauthenticated("Incorrect API key provided. Ask your yard's operator for a key.")
    key, project, organization = found
    if key.revoked_at is not None:
        raise Unauthenticated(f"The API key that ends in '{key.hint}' was revoked.")
    _note_use(tx, key)
    return Principal(
        organization_id=organization.id,
        project_id=key.project_id,
        key_id=key.id,
        tier=organization.tier,
        role=key.role,
        scopes=None if key.scopes is None else frozenset(key.scopes),
        member_id=key.member_id,
        contract=organization.limits,
        project_limits=project.limits,
    )


def _note_use(tx: Session, key: ApiKey) -> None:
    now = clock.now()
    if key.last_used_at is not None and now - key.last_used_at < USE_NOTED_EVERY:
        return
    stale = or_(col(ApiKey.last_used_at).is_(None), col(ApiKey.last_used_at) < now - USE_NOTED_EVERY)
    tx.execute(update(ApiKey).where(col(ApiKey.id) == key.id, stale).values(last_used_at=now))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _is_key_of(organization_id: str) -> ColumnElement[bool]:
    theirs = select(Project.id).where(col(Project.organization_id) == organization_id)
    return col(ApiKey.project_id).in_(theirs)


def _checked_name(name: str) -> str:
    stripped = name.strip()
    if not 1 <= len(stripped) <= NAME_CHARACTERS_MAX or not stripped.isprintable():
        raise Invalid(
            f"A name has 1 to {NAME_CHARACTERS_MAX} printable characters; found {len(stripped)}"
            f"{'' if stripped.isprintable() else ', some of them not printable'}.",
            param="name",
        )
    return stripped


def _require_room(tx: Session, table: type[SQLModel], theirs: ColumnElement[bool], count_max: int) -> None:
    count = tx.exec(select(func.count()).select_from(table).where(theirs)).one()
    if count >= count_max:
        raise Conflict(f"An organization has at most {count_max:,} of these; it has {count:,}.")
