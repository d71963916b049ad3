"""Who is asking, and whether they may. Every route but the tiers, the health checks, the documentation and
the one that accepts an invitation needs a key; `api.permissions` says what that key must be allowed.
"""

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from api import permissions
from api.deps import YardDep
from api.trace import Trace
from orchestrator.errors import Unauthenticated
from orchestrator.organizations import authentication, scopes
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
    """The bearer of the request's key, who may do what the request asks for. Raises Unauthenticated in
    OpenAI's words, NotEntitled with the missing scope."""
    if credentials is None or not credentials.credentials:
        raise Unauthenticated(
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
    with yard.database.transaction() as tx:
        principal = authentication.authenticate(tx, credentials.credentials)
    trace = cast(Trace, request.scope["trace"])
    trace.principal = principal
    scope = permissions.needed(request.method, request.scope["route"].path)
    if scope is None:
        return principal
    if scope in scopes.OPERATORS and scope not in scopes.allowed(principal.role, principal.scopes):
        raise HTTPException(404)  # to everyone else the operator's routes do not exist
    scopes.require(principal, scope)
    return principal


Caller = Annotated[Principal, Depends(authenticate)]
