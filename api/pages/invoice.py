"""An invoice as a page that prints well."""

from datetime import UTC, datetime, timedelta

from fastapi.responses import HTMLResponse

from api.pages import page, percent
from api.schemas.invoices import InvoiceLineObject, InvoiceObject
from orchestrator.metering.model import UsageKind
from orchestrator.metering.prices import dollars

WORK = {
    UsageKind.BATCH: "Batch",
    UsageKind.FINE_TUNING: "Fine-tuning",
    UsageKind.SANDBOX: "Sandbox",
}


def invoice_page(invoice: InvoiceObject) -> HTMLResponse:
    """The page."""
    last_day = datetime.fromtimestamp(invoice.period_end, UTC) - timedelta(days=1)
    return page(
        "invoice.html",
        invoice=invoice,
        first_day=datetime.fromtimestamp(invoice.period_start, UTC).date(),
        last_day=last_day.date(),
        work=WORK,
        details=details,
        dollars=dollars,
    )


def details(line: InvoiceLineObject) -> str:
    """What a line adds up: counts, each at its price where the ledger has it, and the discount."""
    counts = (
        (line.input_tokens - line.cached_tokens, "input", "input"),
        (line.cached_tokens, "cached input", "cached_input"),
        (line.output_tokens, "output", "output"),
        (line.trained_tokens, "trained", "training"),
    )
    parts = [f"{count:,} {what}{_at(line, price)}" for count, what, price in counts if count]
    if line.lines:
        parts.insert(0, f"{line.lines:,} {'line' if line.lines == 1 else 'lines'}")
    if discount := line.prices.get("discount"):
        parts.append(f"less {percent(discount)}")
    return " · ".join(parts)


def _at(line: InvoiceLineObject, price: str) -> str:
    return f" at {dollars(int(line.prices[price]))}" if price in line.prices else ""
