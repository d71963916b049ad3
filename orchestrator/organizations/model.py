"""Organizations, their projects, and the keys that speak for them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import choice, document, moment


class Role(StrEnum):
    """What a person or a key may do. A reader looks; a developer also creates, runs and deletes work; an
    owner also decides who belongs to the organization and what it may spend. An operator runs the yard."""

    OWNER = "owner"
    DEVELOPER = "developer"
    READER = "reader"
    OPERATOR = "operator"


class Organization(SQLModel, table=True):
    """Who is billed, and whose objects nobody else can see. `tier` names a tier of tiers.toml.

    What a contract changes: `limits` are values that take the place of the tier's, under the tier's names
    (None: no limit); `priority` is added to the tier's, so a negative one is sooner; `support_contact` is
    whom its people write to.
    """

    __tablename__ = "organization"

    id: str = Field(primary_key=True, max_length=64)
    name: str = Field(max_length=128)
    tier: str = Field(max_length=32)
    limits: dict[str, int | None] = document(default_factory=dict)
    priority: int = 0
    support_contact: str | None = Field(default=None, max_length=256)
    created_at: datetime = moment(nullable=False)


class Project(SQLModel, table=True):
    """A part of an organization with keys of its own. The first is called `default`. `limits` may only be
    lower than the organization's."""

    __tablename__ = "project"

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", index=True, max_length=64)
    name: str = Field(max_length=128)
    limits: dict[str, int] = document(default_factory=dict)
    created_at: datetime = moment(nullable=False)
    archived_at: datetime | None = moment()


class Member(SQLModel, table=True):
    """A person of an organization. Keys that a member makes can do no more than the member. A former one's
    row stays, so that the audit log still knows the name."""

    __tablename__ = "member"
    __table_args__ = (
        Index(
            "uq_member_email",
            "organization_id",
            "email",
            unique=True,
            postgresql_where=text("removed_at IS NULL"),
        ),
        Index("ix_member_list", "organization_id", "created_at", "id"),
    )

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    email: str = Field(max_length=256)
    name: str = Field(max_length=128)
    role: Role = choice(Role)
    created_at: datetime = moment(nullable=False)
    removed_at: datetime | None = moment()


class Invitation(SQLModel, table=True):
    """An offer to join. Its token is shown once, to whoever invites, and kept as a SHA-256."""

    __tablename__ = "invitation"
    __table_args__ = (Index("ix_invitation_list", "organization_id", "created_at", "id"),)

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    email: str = Field(max_length=256)
    role: Role = choice(Role)
    token_hash: str = Field(unique=True, max_length=64)
    invited_by: str = Field(max_length=64)
    created_at: datetime = moment(nullable=False)
    expires_at: datetime = moment(nullable=False)
    accepted_at: datetime | None = moment()
    revoked_at: datetime | None = moment()


class ApiKey(SQLModel, table=True):
    """A key's SHA-256; the key itself is shown once, when it is made, and never stored.

    Keys carry 256 random bits, so a fast hash is enough: there is nothing to guess. `scopes` narrow what its
    role may do (None: all of it); `member_id` is whose key it is, None for one that the operator made.
    """

    __tablename__ = "api_key"

    id: str = Field(primary_key=True, max_length=64)
    project_id: str = Field(foreign_key="project.id", index=True, max_length=64)
    member_id: str | None = Field(default=None, foreign_key="member.id", index=True, max_length=64)
    name: str = Field(max_length=128)
    role: Role = choice(Role, default=Role.DEVELOPER)
    scopes: list[str] | None = document(default=None)
    hash: str = Field(unique=True, max_length=64)
    hint: str = Field(max_length=16)
    created_at: datetime = moment(nullable=False)
    expires_at: datetime | None = moment()
    last_used_at: datetime | None = moment()
    revoked_at: datetime | None = moment()
