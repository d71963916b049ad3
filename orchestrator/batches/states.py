"""A batch's life, in OpenAI's statuses."""

from enum import StrEnum

from orchestrator.state_machine import StateMachine


class BatchStatus(StrEnum):
    VALIDATING = "validating"  # waits for its turn, then every line is checked
    FAILED = "failed"  # the file was refused, or the yard gave up; `errors` says why
    IN_PROGRESS = "in_progress"  # lines are being sent to engines
    FINALIZING = "finalizing"  # segments are merged into the result files
    COMPLETED = "completed"  # every line has a result, even if every result is an error
    EXPIRED = "expired"  # the window closed; what was done is kept
    CANCELLING = "cancelling"  # cancel accepted; in-flight lines are being aborted
    CANCELLED = "cancelled"  # what was done is kept


class BatchTrigger(StrEnum):
    VALIDATED = "validated"
    REJECTED = "rejected"
    DRIVEN = "driven"
    MERGED = "merged"
    WINDOW_CLOSED = "window_closed"
    CANCEL_REQUESTED = "cancel_requested"
    SPEND_LIMIT_REACHED = "spend_limit_reached"
    GAVE_UP = "gave_up"


_S, _T = BatchStatus, BatchTrigger

BATCH: StateMachine[BatchStatus, BatchTrigger] = StateMachine(
    name="batch",
    initial=_S.VALIDATING,
    edges={
        (_S.VALIDATING, _T.VALIDATED): _S.IN_PROGRESS,
        (_S.VALIDATING, _T.REJECTED): _S.FAILED,
        (_S.VALIDATING, _T.CANCEL_REQUESTED): _S.CANCELLING,
        (_S.VALIDATING, _T.WINDOW_CLOSED): _S.EXPIRED,
        (_S.VALIDATING, _T.GAVE_UP): _S.FAILED,
        (_S.IN_PROGRESS, _T.DRIVEN): _S.FINALIZING,
        (_S.IN_PROGRESS, _T.CANCEL_REQUESTED): _S.CANCELLING,
        (_S.IN_PROGRESS, _T.SPEND_LIMIT_REACHED): _S.CANCELLED,
        (_S.IN_PROGRESS, _T.WINDOW_CLOSED): _S.EXPIRED,
        (_S.IN_PROGRESS, _T.GAVE_UP): _S.FAILED,
        (_S.FINALIZING, _T.MERGED): _S.COMPLETED,
        (_S.FINALIZING, _T.GAVE_UP): _S.FAILED,
        (_S.CANCELLING, _T.MERGED): _S.CANCELLED,
        (_S.CANCELLING, _T.GAVE_UP): _S.FAILED,
    },
)

FINAL = BATCH.final()
CANCELLABLE = (_S.VALIDATING, _S.IN_PROGRESS)
