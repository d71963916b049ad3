"""OpenAI's Batch object, and what this yard adds: progress, estimate, cost, where to look."""

from typing import Any, Literal

from pydantic import Field

from api.schemas.wire import ExpiresAfter, Identified, RequestBody, Text, Wire
from orchestrator import clock
from orchestrator.batches.model import Batch, OnInvalidLine
from orchestrator.batches.states import BatchStatus
from orchestrator.metering.prices import CURRENCY


class Extensions(RequestBody):
    """This yard's own parameters; send them with the SDK's `extra_body`."""

    on_invalid_line: Literal["fail", "skip"] = "fail"


class CreateBatch(RequestBody):
    """The body of `POST /batches`."""

    input_file_id: Text = Field(max_length=64, examples=["file-abc123"])
    endpoint: Text = Field(max_length=64, examples=["/v1/chat/completions"])
    completion_window: Text = Field(
        max_length=16, examples=["24h"], description="24h to 7d; a tier may allow less."
    )
    metadata: dict[Text, Text] | None = None
    output_expires_after: ExpiresAfter | None = None
    idempotency_key: Text | None = Field(default=None, max_length=256)
    tokenyard: Extensions = Extensions()


class BatchErrors(Wire):
    """What is wrong with the file, at most 100 problems; `report_file_id` has all of them."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]


class RequestCounts(Wire):
    total: int
    completed: int
    failed: int


class InputDetails(Wire):
    cached_tokens: int


class OutputDetails(Wire):
    reasoning_tokens: int


class BatchUsage(Wire):
    """Tokens of the completed lines."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Progress(Wire):
    """How far the batch is and how fast it moves. `waiting_for` says why it does not."""

    lines_done: int
    lines_total: int
    tokens: int
    lines_per_second: float | None
    tokens_per_second: float | None
    eta_seconds: int | None
    waiting_for: str | None


class Cost(Wire):
    """What has been charged: nothing before the batch has ended, and then only for lines with a
    result."""

    amount_micros: int
    currency: str = CURRENCY
    charged: bool


class BatchObject(Identified):
    """A batch."""

    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None
    # This yard's additions.
    tier: str
    on_invalid_line: OnInvalidLine
    retry_of: str | None
    report_file_id: str | None
    progress: Progress
    estimate: dict[str, Any] | None
    cost: Cost
    prices: dict[str, dict[str, float]] | None  # by model, as quoted and charged; null until it is validated
    flow_run_url: str | None

    @classmethod
    def of(cls, batch: Batch, *, prefect_ui_url: str) -> "BatchObject":
        """The batch as its owner sees it."""
        moments = {
            name: clock.unix_or_none(getattr(batch, name))
            for name in cls.model_fields
            if name.endswith("_at")
        }
        flow_run = batch.flow_run_id
        return cls(
            **moments,
            id=batch.id,
            endpoint=batch.endpoint,
            model=batch.model,
            errors=None if batch.errors is None else BatchErrors(data=batch.errors),
            input_file_id=batch.input_file_id,
            completion_window=batch.completion_window,
            status=batch.status,
            output_file_id=batch.output_file_id,
            error_file_id=batch.error_file_id,
            request_counts=RequestCounts(
                total=batch.request_total,
                completed=batch.request_completed,
                failed=batch.request_failed,
            ),
            usage=_usage(batch),
            metadata=batch.batch_metadata,
            tier=batch.tier,
            on_invalid_line=batch.on_invalid_line,
            retry_of=batch.retry_of,
            report_file_id=batch.report_file_id,
            progress=_progress(batch),
            estimate=batch.estimate,
            cost=Cost(amount_micros=batch.cost_micros, charged=batch.cost_micros > 0),
            prices=batch.rates,
            flow_run_url=f"{prefect_ui_url}/runs/flow-run/{flow_run}" if flow_run else None,
        )


def _tokens(batch: Batch, name: str) -> int:
    """One count, summed over the batch's models."""
    return sum(counts.get(name, 0) for counts in batch.usage.values())


def _usage(batch: Batch) -> BatchUsage:
    inputs, outputs = _tokens(batch, "input_tokens"), _tokens(batch, "output_tokens")
    return BatchUsage(
        input_tokens=inputs,
        input_tokens_details=InputDetails(cached_tokens=_tokens(batch, "cached_tokens")),
        output_tokens=outputs,
        output_tokens_details=OutputDetails(reasoning_tokens=_tokens(batch, "reasoning_tokens")),
        total_tokens=inputs + outputs,
    )


def _progress(batch: Batch) -> Progress:
    done = batch.request_completed + batch.request_failed
    moving = batch.status is BatchStatus.IN_PROGRESS
    rate = (batch.rate or {}) if moving else {}
    lines_per_second = rate.get("lines_per_second")
    left = batch.request_total - done
    return Progress(
        lines_done=done,
        lines_total=batch.request_total,
        tokens=_tokens(batch, "input_tokens") + _tokens(batch, "output_tokens"),
        lines_per_second=lines_per_second,
        tokens_per_second=rate.get("tokens_per_second"),
        eta_seconds=round(left / lines_per_second) if lines_per_second else None,
        waiting_for=batch.waiting_for,
    )
