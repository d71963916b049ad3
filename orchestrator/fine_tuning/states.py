"""A fine-tuning job's life, in OpenAI's statuses and two of ours for what takes until the next step."""

from enum import StrEnum

from orchestrator.state_machine import StateMachine


class FineTuningStatus(StrEnum):
    VALIDATING_FILES = "validating_files"  # its datasets are read, counted and turned into tokens
    QUEUED = "queued"  # waits for GPUs
    RUNNING = "running"  # a trainer has them
    PAUSING = "pausing"  # the trainer ends its step and stores a checkpoint
    PAUSED = "paused"  # waits for its customer
    CANCELLING = "cancelling"  # the trainer ends its step and stores a checkpoint
    CANCELLED = "cancelled"  # its last checkpoints stay usable
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # `error` says why


class FineTuningTrigger(StrEnum):
    VALIDATED = "validated"
    REJECTED = "rejected"
    STARTED = "started"
    PUT_BACK = "put_back"  # the trainer, or its worker, is gone: another goes on from the checkpoint
    PAUSE_REQUESTED = "pause_requested"
    RESUMED = "resumed"
    CANCEL_REQUESTED = "cancel_requested"
    STOPPED = "stopped"
    TRAINED = "trained"
    GAVE_UP = "gave_up"


_S, _T = FineTuningStatus, FineTuningTrigger

FINE_TUNING: StateMachine[FineTuningStatus, FineTuningTrigger] = StateMachine(
    name="fine_tuning_job",
    initial=_S.VALIDATING_FILES,
    edges={
        (_S.VALIDATING_FILES, _T.VALIDATED): _S.QUEUED,
        (_S.VALIDATING_FILES, _T.REJECTED): _S.FAILED,
        (_S.VALIDATING_FILES, _T.CANCEL_REQUESTED): _S.CANCELLED,
        (_S.VALIDATING_FILES, _T.GAVE_UP): _S.FAILED,
        (_S.QUEUED, _T.STARTED): _S.RUNNING,
        (_S.QUEUED, _T.PAUSE_REQUESTED): _S.PAUSED,
        (_S.QUEUED, _T.CANCEL_REQUESTED): _S.CANCELLED,
        (_S.QUEUED, _T.GAVE_UP): _S.FAILED,
        (_S.RUNNING, _T.TRAINED): _S.SUCCEEDED,
        (_S.RUNNING, _T.PUT_BACK): _S.QUEUED,
        (_S.RUNNING, _T.PAUSE_REQUESTED): _S.PAUSING,
        (_S.RUNNING, _T.CANCEL_REQUESTED): _S.CANCELLING,
        (_S.RUNNING, _T.GAVE_UP): _S.FAILED,
        (_S.PAUSING, _T.STOPPED): _S.PAUSED,
        (_S.PAUSING, _T.PUT_BACK): _S.PAUSED,
        (_S.PAUSING, _T.TRAINED): _S.SUCCEEDED,
        (_S.PAUSING, _T.CANCEL_REQUESTED): _S.CANCELLING,
        (_S.PAUSING, _T.GAVE_UP): _S.FAILED,
        (_S.PAUSED, _T.RESUMED): _S.QUEUED,
        (_S.PAUSED, _T.CANCEL_REQUESTED): _S.CANCELLED,
        (_S.CANCELLING, _T.STOPPED): _S.CANCELLED,
        (_S.CANCELLING, _T.PUT_BACK): _S.CANCELLED,
        (_S.CANCELLING, _T.TRAINED): _S.SUCCEEDED,
        (_S.CANCELLING, _T.GAVE_UP): _S.CANCELLED,
    },
)

FINAL = FINE_TUNING.final()
