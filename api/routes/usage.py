"""What the caller's organization has used and what that cost: by day, project, model and kind, in our shape,
as CSV, and as OpenAI's clients ask for it. For every tier and every role."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from sqlmodel import Session, col, select

from api.auth import Caller
from api.csv_table import csv_text
from api.deps import Read
from api.schemas.usage import (
    HEADER,
    CompletionsResult,
    CostsResult,
    UsageBuckets,
    UsageResult,
    buckets_of,
    next_page,
    rows_of,
)
from api.usage_query import (
    Cursor,
    GroupBy,
    KnownFilters,
    LineItems,
    Models,
    Moment,
    Projects,
    grouped,
    time_range,
)
from orchestrator.metering.model import UsageKind
from orchestrator.metering.prices import decimal
from orchestrator.metering.usage import Asked, By, UsagePage, Width, summed
from orchestrator.organizations.model import Project

OURS = {"project_id": By.PROJECT, "project": By.PROJECT, "model": By.MODEL, "kind": By.KIND}
COMPLETIONS = {"project_id": {By.PROJECT}, "model": {By.MODEL}, "batch": {By.KIND}}
COSTS = {"project_id": {By.PROJECT}, "line_item": {By.MODEL, By.KIND}}
BUCKETS = {Width.DAY: (7, 31), Width.HOUR: (24, 168), Width.MINUTE: (60, 1440)}  # OpenAI's default and bound
REQUESTS = (UsageKind.BATCH, UsageKind.SANDBOX)

router = APIRouter(tags=["Usage"])


@router.get("/usage", response_model=UsageBuckets[UsageResult])
def list_usage(
    tx: Read,
    caller: Caller,
    by: GroupBy,
    projects: Projects,
    models: Models,
    start_time: Annotated[Moment | None, Query(description="Unix seconds; default: the 1st, UTC.")] = None,
    end_time: Annotated[Moment | None, Query(description="Unix seconds, exclusive; default: now.")] = None,
    bucket_width: Width = Width.DAY,
    kind: UsageKind | None = None,
    limit: Annotated[int, Query(ge=1, le=366, description="Buckets on a page.")] = 31,
    page: Cursor = None,
    format: Annotated[Literal["json", "csv"] | None, Query(description="Default: by `Accept`.")] = None,
    accept: Annotated[str, Header()] = "",
) -> UsageBuckets[UsageResult] | Response:
    """Lines, tokens, cached share and cost, in buckets of a day; group by `project_id`, `model`, `kind`. As
    CSV with `format=csv` or `Accept: text/csv`; its next page is then in the header `x-next-page`."""
    start, end = time_range(start_time, end_time, page)
    found = summed(
        tx,
        Asked(
            organization_id=caller.organization_id,
            start=start,
            end=end,
            width=bucket_width,
            buckets=limit,
            by=frozenset(OURS[name] for name in grouped(by, OURS)),
            projects=projects,
            models=models,
            kinds=() if kind is None else (kind,),
        ),
    )
    if format == "csv" or (format is None and "text/csv" in accept):
        return _csv(tx, caller.organization_id, found)
    return buckets_of(found, UsageResult.model_validate)


@router.get("/organization/usage/completions", dependencies=[KnownFilters])
def usage_of_completions(
    tx: Read,
    caller: Caller,
    by: GroupBy,
    projects: Projects,
    models: Models,
    start_time: Moment,
    end_time: Moment | None = None,
    bucket_width: Width = Width.DAY,
    batch: Annotated[bool | None, Query(description="Only batches, or with false only others.")] = None,
    limit: Annotated[int | None, Query(ge=1)] = None,
    page: Cursor = None,
) -> UsageBuckets[CompletionsResult]:
    """Tokens and requests in OpenAI's shape, as `client.admin.organization.usage.completions` reads it."""
    start, end = time_range(start_time, end_time, page)
    default, most = BUCKETS[bucket_width]
    kinds = REQUESTS if batch is None else (UsageKind.BATCH if batch else UsageKind.SANDBOX,)
    found = summed(
        tx,
        Asked(
            organization_id=caller.organization_id,
            start=start,
            end=end,
            width=bucket_width,
            buckets=min(limit or default, most),
            by=frozenset[By]().union(*(COMPLETIONS[name] for name in grouped(by, COMPLETIONS))),
            projects=projects,
            models=models,
            kinds=kinds,
        ),
    )
    return buckets_of(found, CompletionsResult.of)


@router.get("/organization/costs", dependencies=[KnownFilters])
def costs(
    tx: Read,
    caller: Caller,
    by: GroupBy,
    projects: Projects,
    line_items: LineItems,
    start_time: Moment,
    end_time: Moment | None = None,
    bucket_width: Literal["1d"] = "1d",  # noqa: ARG001  # OpenAI's parameter, of one value
    limit: Annotated[int, Query(ge=1, le=180)] = 7,
    page: Cursor = None,
) -> UsageBuckets[CostsResult]:
    """Costs by day in OpenAI's shape, as `client.admin.organization.usage.costs` reads it."""
    start, end = time_range(start_time, end_time, page)
    found = summed(
        tx,
        Asked(
            organization_id=caller.organization_id,
            start=start,
            end=end,
            width=Width.DAY,
            buckets=limit,
            by=frozenset[By]().union(*(COSTS[name] for name in grouped(by, COSTS))),
            projects=projects,
            items=line_items,
        ),
    )
    return buckets_of(found, CostsResult.of)


def _csv(tx: Session, organization_id: str, found: UsagePage) -> Response:
    theirs = select(Project.id, Project.name).where(col(Project.organization_id) == organization_id)
    names = dict(tx.exec(theirs).all())
    headers = {"content-disposition": 'attachment; filename="usage.csv"'}
    if (more := next_page(found)) is not None:
        headers["x-next-page"] = more
    text = csv_text(HEADER, rows_of(found, names, decimal))
    return Response(text, media_type="text/csv", headers=headers)
