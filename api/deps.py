"""What routes ask for by type. A transaction commits when the route has returned and before the
answer is sent (`scope="function"`): nobody is told of something that was then rolled back.

What never waits is `async`: anything else costs a trip to a thread and back.
"""

from collections.abc import Iterator
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlmodel import Session

from api.yard import Yard
from orchestrator.errors import Invalid


async def get_yard(request: Request) -> Yard:
    """The process's yard, put into the request by the lifespan."""
    return cast(Yard, request.state.yard)


YardDep = Annotated[Yard, Depends(get_yard)]


def get_transaction(yard: YardDep) -> Iterator[Session]:
    """A session that commits once, after the route has returned."""
    with yard.database.transaction() as tx:
        yield tx


def get_read(yard: YardDep) -> Iterator[Session]:
    """A session for reading."""
    with yard.database.read() as tx:
        yield tx


Transaction = Annotated[Session, Depends(get_transaction, scope="function")]
Read = Annotated[Session, Depends(get_read, scope="function")]


async def refuse_nul(request: Request) -> None:
    """Refuse the one character that Postgres cannot keep or compare, before a query meets it."""
    if "\0" in request.url.path or "%00" in request.url.query:
        raise Invalid("The URL contains a NUL character.")
