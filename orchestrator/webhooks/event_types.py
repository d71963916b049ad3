"""What an organization can be told of, under OpenAI's names where it has one."""

from enum import StrEnum


class EventType(StrEnum):
    """One kind of event."""

    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    BATCH_EXPIRED = "batch.expired"
    BATCH_CANCELLED = "batch.cancelled"
    FINE_TUNING_SUCCEEDED = "fine_tuning.job.succeeded"
    FINE_TUNING_FAILED = "fine_tuning.job.failed"
    FINE_TUNING_CANCELLED = "fine_tuning.job.cancelled"
    SPEND_ALERT_TRIGGERED = "spend.alert.triggered"
    SPEND_LIMIT_REACHED = "spend.limit.reached"
    ENDPOINT_DISABLED = "webhook.endpoint.disabled"  # the others of an organization hear of it unasked
    TEST = "webhook.test"


UNASKED = (EventType.ENDPOINT_DISABLED, EventType.TEST)
SUBSCRIBABLE = tuple(kind for kind in EventType if kind not in UNASKED)
