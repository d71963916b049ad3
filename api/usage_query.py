"""How requests for usage say which stretch of time, and which rows of the ledger, they mean."""

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query

from api.schemas.usage import CURSOR
from orchestrator import clock
from orchestrator.errors import Invalid
from orchestrator.metering.invoices import period
from orchestrator.metering.ledger import month_of

LAST_SECOND = 32_503_680_000  # the year 3000
VALUES_MAX = 100

Moment = Annotated[int, Query(ge=0, le=LAST_SECOND)]
Cursor = Annotated[str | None, Query(max_length=32, description="`next_page` of the page before.")]


def values(name: str, description: str) -> Callable[..., Awaitable[list[str]]]:
    """A dependency that reads a parameter given several times, as `name=` or, by OpenAI's SDK, `name[]=`."""

    async def read(
        plain: Annotated[list[str], Query(alias=name, max_length=VALUES_MAX, description=description)] = [],  # noqa: B006  # FastAPI copies it
        bracketed: Annotated[
            list[str], Query(alias=f"{name}[]", max_length=VALUES_MAX, include_in_schema=False)
        ] = [],  # noqa: B006
    ) -> list[str]:
        return [*plain, *bracketed]

    return read


GroupBy = Annotated[list[str], Depends(values("group_by", "What to divide each bucket by."))]
Projects = Annotated[list[str], Depends(values("project_ids", "Only these projects."))]
Models = Annotated[list[str], Depends(values("models", "Only these models."))]
LineItems = Annotated[list[str], Depends(values("line_items", "Only these; each is `MODEL, KIND`."))]


async def _refuse_unknown(
    keys: Annotated[list[str], Depends(values("api_key_ids", "Not known here."))],
    users: Annotated[list[str], Depends(values("user_ids", "Not known here."))],
) -> None:
    """The ledger keeps projects, not keys and people: a filter that did nothing would lie."""
    for name, given in (("api_key_ids", keys), ("user_ids", users)):
        if given:
            raise Invalid(
                f"`{name}` is not supported: the ledger knows projects. Use `project_ids`.", param=name
            )


KnownFilters = Depends(_refuse_unknown)


def time_range(start_time: int | None, end_time: int | None, page: str | None) -> tuple[datetime, datetime]:
    """From when, the first of this month unless told otherwise, to when, now unless told otherwise. A page's
    cursor goes on from where the last one ended. Raises Invalid for one that was never given."""
    now = clock.now()
    start = period(month_of(now))[0] if start_time is None else _moment(start_time)
    end = now if end_time is None else _moment(end_time)
    if page is not None:
        found = re.fullmatch(rf"{CURSOR}(\d{{1,11}})", page)
        start = _moment(min(int(found[1]), LAST_SECOND)) if found else end
        if not found or start >= end:
            raise Invalid(f"No page '{page}'. Pass `next_page` of the page before, unchanged.", param="page")
    return start, end


def grouped(given: Sequence[str], supported: Collection[str]) -> frozenset[str]:
    """What to group by. Raises Invalid naming what can be."""
    for name in given:
        if name not in supported:
            known = ", ".join(f"'{one}'" for one in supported)
            raise Invalid(f"Invalid value: '{name}'. Supported values are: {known}.", param="group_by")
    return frozenset(given)


def _moment(unix: int) -> datetime:
    return datetime.fromtimestamp(unix, UTC)
