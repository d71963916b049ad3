"""Which page a list request asks for: OpenAI's `after`, or Groq's `cursor`, which is the same
thing."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Query

from orchestrator.database.pages import Order, PageRequest

CURSOR_LENGTH_MAX = 64


def page_request(*, limit_default: int, limit_max: int) -> Callable[..., Awaitable[PageRequest]]:
    """A dependency that reads one list's page parameters within that list's bounds."""

    async def read(
        after: Annotated[
            str | None, Query(max_length=CURSOR_LENGTH_MAX, description="The last id already seen.")
        ] = None,
        cursor: Annotated[
            str | None,
            Query(max_length=CURSOR_LENGTH_MAX, description="The same, as Groq names it."),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=limit_max)] = limit_default,
        order: Annotated[Order, Query(description="By the time of creation.")] = Order.DESC,
    ) -> PageRequest:
        return PageRequest(limit=limit, after=after or cursor or None, order=order)

    return read


# OpenAI's defaults and bounds for each list.
FilesPage = Annotated[PageRequest, Depends(page_request(limit_default=10_000, limit_max=10_000))]
BatchesPage = Annotated[PageRequest, Depends(page_request(limit_default=20, limit_max=100))]
FineTuningPage = Annotated[PageRequest, Depends(page_request(limit_default=20, limit_max=100))]
EventsPage = Annotated[PageRequest, Depends(page_request(limit_default=20, limit_max=1_000))]
CheckpointsPage = Annotated[PageRequest, Depends(page_request(limit_default=10, limit_max=100))]
OrganizationsPage = Annotated[PageRequest, Depends(page_request(limit_default=100, limit_max=100))]
OrganizationPartsPage = Annotated[PageRequest, Depends(page_request(limit_default=20, limit_max=100))]
SpendAlertsPage = Annotated[PageRequest, Depends(page_request(limit_default=20, limit_max=100))]
QuotesPage = Annotated[PageRequest, Depends(page_request(limit_default=20, limit_max=100))]
WebhooksPage = Annotated[PageRequest, Depends(page_request(limit_default=20, limit_max=100))]
