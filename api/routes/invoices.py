"""What each month cost, as JSON and as a page to print. The running month is a draft."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlmodel import Session, col, select

from api.auth import Caller
from api.deps import Read
from api.pages import AsPage
from api.pages.invoice import invoice_page
from api.schemas.invoices import InvoiceObject, InvoiceSummary
from api.schemas.wire import ListOf
from orchestrator import clock
from orchestrator.errors import Invalid, NotFound
from orchestrator.metering import invoices
from orchestrator.metering.ledger import month_of
from orchestrator.organizations.model import Organization, Project

router = APIRouter(tags=["Usage"])


@router.get("/invoices")
def list_invoices(
    tx: Read,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=120)] = 12,
    after: Annotated[str | None, Query(max_length=7, description="The last month already seen.")] = None,
) -> ListOf[InvoiceSummary]:
    """Your months since you are here, newest first, each with its total."""
    organization = tx.get_one(Organization, caller.organization_id)
    first, last = month_of(organization.created_at), month_of(clock.now())
    seen = date.max if after is None else invoices.named(after)
    if seen is None:
        raise Invalid(f"Invalid value: '{after}'. Expected a month, such as '{last:%Y-%m}'.", param="after")
    totals = invoices.totals(tx, organization_id=organization.id, first=first, last=last)
    found = [_summary(organization, month, micros) for month, micros in totals.items() if month < seen]
    return ListOf.of(found[:limit], has_more=len(found) > limit)


@router.get("/invoices/{month}", response_model=InvoiceObject)
def retrieve_invoice(
    month: str,
    tx: Read,
    caller: Caller,
    as_page: AsPage,
) -> InvoiceObject | Response:
    """One month (`2026-11`), line by line. As a page with `format=html` or `Accept: text/html`."""
    organization = tx.get_one(Organization, caller.organization_id)
    now = clock.now()
    first = invoices.named(month)
    if first is None or not month_of(organization.created_at) <= first <= month_of(now):
        raise NotFound(f"No invoice with id '{month}'. GET /v1/invoices lists yours.", param="id")
    found = invoices.invoice(tx, organization_id=organization.id, month=first, now=now)
    summary = _summary(organization, first, found.total_micros)
    shown = InvoiceObject.of(found, organization, summary, _projects(tx, organization.id))
    return invoice_page(shown) if as_page else shown


def _summary(organization: Organization, month: date, total_micros: int) -> InvoiceSummary:
    start, end = invoices.period(month)
    return InvoiceSummary(
        id=f"{month:%Y-%m}",
        number=f"{organization.id}-{month:%Y-%m}",
        status=invoices.status_of(month, clock.now()),
        period_start=clock.unix(start),
        period_end=clock.unix(end),
        total_micros=total_micros,
    )


def _projects(tx: Session, organization_id: str) -> dict[str, str]:
    theirs = select(Project.id, Project.name).where(col(Project.organization_id) == organization_id)
    return dict(tx.exec(theirs).all())
