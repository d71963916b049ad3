"""Organizations, their projects, and the keys that speak for them."""

from datetime import datetime
from enum import StrEnum

from sqlmodel import Field, SQLModel

from orchestrator.database.columns import choice, moment


class Role(StrEnum):
    """What a key may do: `customer` works inside its organization, `operator` runs the yard."""

    CUSTOMER = "customer"
    OPERATOR = "operator"


class Organization(SQLModel, table=True):
    """Who is billed, and whose objects nobody else can see. `tier` names a tier of tiers.toml."""

    __tablename__ = "organization"

    id: str = Field(primary_key=True, max_length=64)
    name: str = Field(max_length=128)
    tier: str = Field(max_length=32)
    created_at: datetime = moment(nullable=False)


class Project(SQLModel, table=True):
    """A part of an organization with keys of its own. The first is called `default`."""

    __tablename__ = "project"

    id: str = Field(primary_key=True, max_length=64)
    organization_id: str = Field(foreign_key="organization.id", index=True, max_length=64)
    name: str = Field(max_length=128)
    created_at: datetime = moment(nullable=False)


class ApiKey(SQLModel, table=True):
    """A key's SHA-256; the key itself is shown once, when it is made, and never stored.

    Keys carry 256 random bits, so a fast hash is enough: there is nothing to guess.
    """

    __tablename__ = "api_key"

    id: str = Field(primary_key=True, max_length=64)
    project_id: str = Field(foreign_key="project.id", index=True, max_length=64)
    name: str = Field(max_length=128)
    role: Role = choice(Role, default=Role.CUSTOMER)
    hash: str = Field(unique=True, max_length=64)
    hint: str = Field(max_length=16)
    created_at: datetime = moment(nullable=False)
    last_used_at: datetime | None = moment()
    revoked_at: datetime | None = moment()
