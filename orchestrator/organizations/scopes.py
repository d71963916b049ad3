"""What a key may do: what its role grants, narrowed to the scopes that it was made with."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from orchestrator.errors import NotEntitled
from orchestrator.organizations.model import Role
from orchestrator.organizations.principal import Principal


class Scope(StrEnum):
    """A family of routes, to be looked at or to be changed. `yard` is what only its operator does."""

    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    BATCHES_READ = "batches:read"
    BATCHES_WRITE = "batches:write"
    FINE_TUNING_READ = "fine_tuning:read"
    FINE_TUNING_WRITE = "fine_tuning:write"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    INFERENCE_WRITE = "inference:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    USAGE_READ = "usage:read"
    SPENDING_READ = "spending:read"
    SPENDING_WRITE = "spending:write"
    ORGANIZATION_READ = "organization:read"
    ORGANIZATION_WRITE = "organization:write"
    YARD_READ = "yard:read"
    YARD_WRITE = "yard:write"


OPERATORS = frozenset({Scope.YARD_READ, Scope.YARD_WRITE})
OWNERS = frozenset({Scope.SPENDING_WRITE, Scope.ORGANIZATION_WRITE})
READS = frozenset(scope for scope in Scope if scope.endswith(":read")) - OPERATORS

GRANTED: Mapping[Role, frozenset[Scope]] = {
    Role.READER: READS,
    Role.DEVELOPER: frozenset(Scope) - OPERATORS - OWNERS,
    Role.OWNER: frozenset(Scope) - OPERATORS,
    Role.OPERATOR: frozenset(Scope),
}

LOWEST_FIRST = (Role.READER, Role.DEVELOPER, Role.OWNER, Role.OPERATOR)


def allowed(role: Role, scopes: Iterable[str] | None) -> frozenset[Scope]:
    """All that a key of this role and these scopes may do."""
    return GRANTED[role] if scopes is None else GRANTED[role].intersection(scopes)


def require(caller: Principal, scope: Scope) -> None:
    """Raises NotEntitled with the missing scope, what the key has, and who can grant it."""
    if scope in allowed(caller.role, caller.scopes):
        return
    enough = next(role for role in LOWEST_FIRST if scope in GRANTED[role])
    if scope in GRANTED[caller.role]:
        has = f"This key's role '{caller.role}' has it, but its scopes leave it out: {_listed(caller)}."
        remedy = "can give you a key with this scope"
    else:
        has = f"This key's role is '{caller.role}'; it takes '{enough}'."
        remedy = f"can make you a key, or you a member, with the role '{enough}'"
    raise NotEntitled(
        f"You have insufficient permissions for this operation. Missing scope: {scope}. {has} An owner of "
        f"your organization {remedy}.",
        code="insufficient_permissions",
    )


def require_no_more(caller: Principal, role: Role, scopes: Iterable[str] | None = None) -> None:
    """Nobody gives away more than they have: neither a role above their own nor, within it, a scope that
    their key lacks. Raises NotEntitled."""
    _require_no_higher(caller, role)
    beyond = allowed(role, scopes) - allowed(caller.role, caller.scopes)
    if beyond:
        raise NotEntitled(
            f"The role '{role}' would come with the scope '{min(beyond)}', which this key lacks; nobody "
            "grants more than they have. Name fewer scopes, or use a key that has it.",
            code="insufficient_permissions",
            param="role" if scopes is None else "scopes",
        )


def _require_no_higher(caller: Principal, role: Role) -> None:
    if LOWEST_FIRST.index(role) > LOWEST_FIRST.index(caller.role):
        raise NotEntitled(
            f"The role '{role}' is above this key's own, '{caller.role}'; nobody grants more than they have.",
            code="insufficient_permissions",
            param="role",
        )


def lower(one: Role, other: Role) -> Role:
    """The one of two roles that may do less."""
    return min(one, other, key=LOWEST_FIRST.index)


def _listed(caller: Principal) -> str:
    return ", ".join(f"'{scope}'" for scope in sorted(caller.scopes or ())) or "none"
