"""Lists page by page: newest first or oldest first, from a cursor that is the last row's id.

A page is a range of (created_at, id), so rows that come or go meanwhile never shift the next page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, tuple_
from sqlmodel import Session, SQLModel, select

from orchestrator.errors import Invalid

Row = TypeVar("Row", bound=SQLModel)


class Order(StrEnum):
    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True)
class PageRequest:
    """`after` is the id of the last row already seen; None begins at the start."""

    limit: int
    after: str | None = None
    order: Order = Order.DESC


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Up to `limit` rows, and whether more follow."""

    rows: Sequence[Row]
    has_more: bool


def fetch(
    tx: Session,
    table: type[Row],
    request: PageRequest,
    *,
    organization_id: str | None,
    within: Sequence[ColumnElement[bool]] = (),
    where: Sequence[ColumnElement[bool]] = (),
) -> Page[Row]:
    """One page of the organization's rows that fulfil `where`. `table` has created_at, id and
    organization_id; with None the page is of all rows, for the yard's operator, or of those `within`
    something that is known to be the organization's.

    Raises Invalid where `after` is none of these rows' ids, whatever `where` says of it."""
    columns: Any = table
    descending = request.order is Order.DESC
    theirs = (*within, *(() if organization_id is None else (columns.organization_id == organization_id,)))
    query = select(table).where(*theirs, *where)
    if request.after is not None:
        last: Any = tx.exec(select(table).where(columns.id == request.after, *theirs)).first()
        if last is None:
            raise Invalid(
                f"No object with id '{request.after}' to continue after. Pass the last id of the "
                "page before.",
                param="after",
            )
        position = tuple_(columns.created_at, columns.id)
        seen = tuple_(last.created_at, last.id)
        query = query.where(position < seen if descending else position > seen)
    keys = (columns.created_at, columns.id)
    query = query.order_by(*(key.desc() if descending else key.asc() for key in keys))
    rows = tx.exec(query.limit(request.limit + 1)).all()
    return Page(rows=rows[: request.limit], has_more=len(rows) > request.limit)
