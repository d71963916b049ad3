"""Who is asking: what a valid key says about its bearer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.organizations.model import Role


@dataclass(frozen=True)
class Principal:
    """The organization, project, tier and role behind one request. `scopes` narrow what the role may do;
    None: all of it. `member_id` is whose key it is; None: nobody's own. `contract` and `project_limits` are
    what stands in place of the tier's own limits: entitlements/effective.py."""

    organization_id: str
    project_id: str
    key_id: str
    tier: str
    role: Role
    scopes: frozenset[str] | None = None
    member_id: str | None = None
    contract: Mapping[str, int | None] = field(default_factory=dict)
    project_limits: Mapping[str, int] = field(default_factory=dict)
    support_contact: str | None = None
