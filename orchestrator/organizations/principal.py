"""Who is asking: what a valid key says about its bearer."""

from dataclasses import dataclass

from orchestrator.organizations.model import Role


@dataclass(frozen=True)
class Principal:
    """The organization, project, tier and role behind one request. `scopes` narrow what the role may do;
    None: all of it."""

    organization_id: str
    project_id: str
    key_id: str
    tier: str
    role: Role
    scopes: frozenset[str] | None = None
