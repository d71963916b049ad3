"""Quotes: what was promised, and how far off it was."""

from fastapi import APIRouter

from api.auth import Caller
from api.deps import Read
from api.pagination import QuotesPage
from api.schemas.quotes import QuoteErrors, QuoteList, QuoteObject
from api.schemas.wire import ListOf
from orchestrator.batches import quote_book

router = APIRouter(tags=["Usage"])


@router.get("/usage/quotes")
def list_quotes(tx: Read, caller: Caller, page: QuotesPage) -> QuoteList:
    """Every quote that you were given, newest first, beside what came; and how far they were off."""
    found = quote_book.list_page(tx, page, organization_id=caller.organization_id)
    listed = ListOf.of([QuoteObject.of(record) for record in found.rows], has_more=found.has_more)
    errors = quote_book.offness(quote_book.settled(tx, organization_id=caller.organization_id))
    return QuoteList(**dict(listed), errors=QuoteErrors.model_validate(errors))
