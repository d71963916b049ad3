"""Invoices: what each month cost, and for what."""

from typing import Literal

from api.schemas.wire import Identified, Wire
from orchestrator.metering.invoices import Invoice, InvoiceStatus
from orchestrator.metering.model import UsageKind
from orchestrator.metering.prices import CURRENCY
from orchestrator.organizations.model import Organization


class InvoiceSummary(Identified):
    """A month. `id` is the month, `2026-11`; a draft can still grow. `period_end` is no part of it."""

    object: Literal["invoice"] = "invoice"
    number: str
    status: InvoiceStatus
    period_start: int
    period_end: int
    total_micros: int
    currency: str = CURRENCY


class InvoiceLineObject(Wire):
    """What one project used of one model at one price. `prices` are millionths of a dollar for a million
    tokens: `input`, `cached_input`, `output`, `training`; `discount` is the share of them not charged."""

    project_id: str
    project: str
    kind: UsageKind
    model: str
    prices: dict[str, float]
    lines: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    trained_tokens: int
    cost_micros: int


class InvoiceObject(InvoiceSummary):
    """A month with its lines, costliest first; `more_micros` is what there is beyond them."""

    organization_id: str
    organization: str
    lines: list[InvoiceLineObject]
    more_micros: int

    @classmethod
    def of(
        cls, found: Invoice, organization: Organization, summary: InvoiceSummary, projects: dict[str, str]
    ) -> "InvoiceObject":
        """The invoice with the names of its organization and projects."""
        return cls(
            **summary.model_dump(),
            organization_id=organization.id,
            organization=organization.name,
            lines=[
                InvoiceLineObject(**vars(line), project=projects.get(line.project_id, line.project_id))
                for line in found.lines
            ],
            more_micros=found.more_micros,
        )
