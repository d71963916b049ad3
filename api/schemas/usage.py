"""What an organization has used: in our own shape, and in that of OpenAI's usage and costs."""

from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

from api.schemas.wire import Wire
from orchestrator import clock
from orchestrator.metering.model import UsageKind
from orchestrator.metering.prices import CURRENCY, MICROS
from orchestrator.metering.usage import Sums, UsagePage

CURSOR = "page_"  # and the Unix second at which the next page starts


class UsageResult(Wire):
    """One part of a bucket; what the request did not group by is null. `cached_share` is of the input."""

    object: Literal["usage.result"] = "usage.result"
    project_id: str | None
    model: str | None
    kind: UsageKind | None
    lines: int
    input_tokens: int
    cached_tokens: int
    cached_share: float | None
    output_tokens: int
    trained_tokens: int
    cost_micros: int
    currency: str = CURRENCY


class CompletionsResult(Wire):
    """OpenAI's `organization.usage.completions.result`."""

    object: Literal["organization.usage.completions.result"] = "organization.usage.completions.result"
    input_tokens: int
    input_cached_tokens: int
    input_uncached_tokens: int
    output_tokens: int
    num_model_requests: int
    project_id: str | None
    model: str | None
    batch: bool | None
    user_id: None = None
    api_key_id: None = None
    service_tier: None = None

    @classmethod
    def of(cls, sums: Sums) -> "CompletionsResult":
        """A part of a bucket in OpenAI's words."""
        return cls(
            input_tokens=sums.input_tokens,
            input_cached_tokens=sums.cached_tokens,
            input_uncached_tokens=sums.input_tokens - sums.cached_tokens,
            output_tokens=sums.output_tokens,
            num_model_requests=sums.lines,
            project_id=sums.project_id,
            model=sums.model,
            batch=None if sums.kind is None else sums.kind is UsageKind.BATCH,
        )


class Amount(Wire):
    """Money as OpenAI writes it; `value` is in whole units of the currency."""

    value: float
    currency: str = CURRENCY


class CostsResult(Wire):
    """OpenAI's `organization.costs.result`. A line item is `MODEL, KIND`; its quantity is its tokens."""

    object: Literal["organization.costs.result"] = "organization.costs.result"
    amount: Amount
    line_item: str | None
    project_id: str | None
    quantity: int | None
    quantity_unit: Literal["tokens"] | None
    amount_micros: int  # this yard's addition: exact

    @classmethod
    def of(cls, sums: Sums) -> "CostsResult":
        """A part of a bucket in OpenAI's words."""
        is_item = sums.model is not None and sums.kind is not None
        return cls(
            amount=Amount(value=sums.cost_micros / MICROS),
            line_item=f"{sums.model}, {sums.kind}" if is_item else None,
            project_id=sums.project_id,
            quantity=sums.input_tokens + sums.output_tokens + sums.trained_tokens if is_item else None,
            quantity_unit="tokens" if is_item else None,
            amount_micros=sums.cost_micros,
        )


Result = TypeVar("Result", bound=Wire)


class UsageBucket(Wire, Generic[Result]):
    """A stretch of time; `end_time` is no part of it."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[Result]


class UsageBuckets(Wire, Generic[Result]):
    """One page, in OpenAI's envelope; pass `next_page` back as `page`."""

    object: Literal["page"] = "page"
    data: list[UsageBucket[Result]]
    has_more: bool
    next_page: str | None


def buckets_of(page: UsagePage, shape: Callable[[Sums], Result]) -> UsageBuckets[Result]:
    """The page in one of the shapes above."""
    return UsageBuckets(
        data=[
            UsageBucket(
                start_time=clock.unix(bucket.start),
                end_time=clock.unix(bucket.end),
                results=[shape(sums) for sums in bucket.results],
            )
            for bucket in page.buckets
        ],
        has_more=page.next_start is not None,
        next_page=next_page(page),
    )


def next_page(page: UsagePage) -> str | None:
    """The cursor of the next page, None on the last."""
    return None if page.next_start is None else f"{CURSOR}{clock.unix(page.next_start)}"


HEADER = (
    *("start", "project_id", "project", "model", "kind", "lines", "input_tokens", "cached_tokens"),
    *("cached_share", "output_tokens", "trained_tokens", "cost", "currency"),
)


def rows_of(
    page: UsagePage, projects: dict[str, str], decimal: Callable[[int], str]
) -> Sequence[list[object]]:
    """The page as rows under HEADER; `projects` are names by id."""
    return [
        [
            bucket.start.strftime("%Y-%m-%dT%H:%M:%SZ"),
            sums.project_id,
            projects.get(sums.project_id or ""),
            sums.model,
            sums.kind,
            sums.lines,
            sums.input_tokens,
            sums.cached_tokens,
            sums.cached_share,
            sums.output_tokens,
            sums.trained_tokens,
            decimal(sums.cost_micros),
            CURRENCY,
        ]
        for bucket in page.buckets
        for sums in bucket.results
    ]
