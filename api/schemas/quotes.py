"""Quotes that were given, and what came of them."""

from typing import Any, Literal

from api.schemas.wire import Identified, ListOf, Wire
from orchestrator import clock
from orchestrator.batches.quote_book import off
from orchestrator.metering.model import QuoteRecord


class Actual(Wire):
    """What came. Seconds are from the quote on."""

    cost_micros: int
    output_tokens: int
    start_seconds: float
    finish_seconds: float


class QuoteObject(Identified):
    """A quote as it was given; `actual` once its batch has ended with every line answered. Errors are shares
    of what came: 0.1 is 10% off."""

    object: Literal["quote"] = "quote"
    file_id: str
    batch_id: str | None
    model: str | None
    created_at: int
    quoted: dict[str, Any]
    actual: Actual | None
    cost_error: float | None
    finish_error: float | None

    @classmethod
    def of(cls, record: QuoteRecord) -> "QuoteObject":
        """The quote as its customer sees it."""
        cost, finish = off(record)
        actual = None
        if record.settled_at is not None:
            actual = Actual(
                cost_micros=record.actual_cost_micros or 0,
                output_tokens=record.actual_output_tokens or 0,
                start_seconds=record.actual_start_seconds or 0.0,
                finish_seconds=record.actual_finish_seconds or 0.0,
            )
        return cls(
            id=record.id,
            file_id=record.file_id,
            batch_id=record.batch_id,
            model=record.model,
            created_at=clock.unix(record.created_at),
            quoted=record.quoted,
            actual=actual,
            cost_error=cost,
            finish_error=finish,
        )


class QuoteErrors(Wire):
    """How far the organization's latest quotes were off; null where there are none."""

    quotes: int
    cost_median: float | None
    cost_p90: float | None
    finish_median: float | None
    finish_p90: float | None


class QuoteList(ListOf[QuoteObject]):
    """One page of quotes, and how far all the latest were off."""

    errors: QuoteErrors
