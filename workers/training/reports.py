"""What a trainer says while it runs: lines of JSON appended to `<folder>/reports.jsonl`, one a report.

The flow reads them as they come. Nothing in a report is a prompt or a completion.
"""

from typing import Literal

import msgspec

FILENAME = "reports.jsonl"


class Started(msgspec.Struct, tag="started", frozen=True):
    """The model is loaded; training begins, or goes on, at `step`."""

    step: int
    total_steps: int
    steps_per_epoch: int
    device: str
    trainable_parameters: int
    versions: dict[str, str]  # of the libraries that train


class Step(msgspec.Struct, tag="step", frozen=True):
    """One optimizer step. `trained_tokens` counts real tokens since the training began. With `dpo` the
    accuracy, here and below, is the share of pairs that are ranked right."""

    step: int
    epoch: float
    train_loss: float
    train_mean_token_accuracy: float
    learning_rate: float
    grad_norm: float
    trained_tokens: int
    seconds: float
    peak_memory_bytes: int


class Evaluation(msgspec.Struct, tag="evaluation", frozen=True):
    """Over all of the validation file. `full` at the end of an epoch."""

    step: int
    valid_loss: float
    valid_mean_token_accuracy: float
    full: bool


class Checkpoint(msgspec.Struct, tag="checkpoint", frozen=True):
    """A folder that will not change any more: `adapter/` (PEFT's two files) and `state.pt`."""

    step: int
    path: str
    trained_tokens: int
    reason: Literal["epoch", "clock", "stopped", "finished"]


class Finished(msgspec.Struct, tag="finished", frozen=True):
    """The last report of a training that came to its end; its checkpoint came before."""

    step: int
    trained_tokens: int
    early_stopped: bool


class Stopped(msgspec.Struct, tag="stopped", frozen=True):
    """The last report after SIGTERM; its checkpoint came before."""

    step: int
    trained_tokens: int


class Failed(msgspec.Struct, tag="failed", frozen=True):
    """The last report of a training that cannot go on. `message` is for the customer."""

    code: Literal["training_diverged", "out_of_memory", "invalid_base_model", "internal_error"]
    message: str
    step: int | None = None


Report = Started | Step | Evaluation | Checkpoint | Finished | Stopped | Failed


def decode(line: bytes) -> Report:
    """Raises msgspec.ValidationError where the line is no report."""
    report: Report = msgspec.json.decode(line, type=Report)
    return report
