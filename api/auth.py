"""Who is asking. Every route but the tiers, the health checks and the documentation needs a key."""

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from api.deps import YardDep
from api.trace import Trace
from orchestrator.errors import NotEntitled, Unauthenticated
from orchestrator.organizations import service as organizations
from orchestrator.organizations.model import Role
from orchestrator.organizations.principal import Principal

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="A key that `yard key create` printed once.",
)


def authenticate(
    request: Request,
    yard: YardDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Principal:
    """The bearer of the request's key. Raises Unauthenticated in OpenAI's words."""
    if credentials is None or not credentials.credentials:
        raise Unauthenticated(
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
    with yard.database.transaction() as tx:
        principal = organizations.authenticate(tx, credentials.credentials)
    trace = cast(Trace, request.scope["trace"])
    trace.principal = principal
    return principal


Caller = Annotated[Principal, Depends(authenticate)]


def require_operator(caller: Caller) -> None:
    """Let only those pass who run this yard. To everyone else the route does not exist."""
    if caller.role is not Role.OPERATOR:
        raise HTTPException(404)


def require_owner(caller: Caller) -> Principal:
    """Let only an owner decide about an organization's money, limits and people."""
    if caller.role is not Role.OWNER:
        raise NotEntitled(
            f"Only an owner of the organization can do this; this key's role is '{caller.role}'.",
            code="insufficient_permissions",
        )
    return caller
