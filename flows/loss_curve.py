"""A training's loss as a page of Markdown that a person looks at: a curve, and its numbers. Pure."""

from collections.abc import Sequence

from orchestrator.fine_tuning.events import StepMetrics
from orchestrator.fine_tuning.loss_plot import loss_plot

ROWS_MAX = 12
HEADER = ("step", "epoch", "loss", "accuracy", "validation loss", "learning rate")


def loss_curve(steps: Sequence[StepMetrics]) -> str:
    """The curve of the training loss, and a table of some steps: those that were validated, if any were.

    `steps` are in order and not empty.
    """
    plot = loss_plot([step.train_loss for step in steps], first_step=steps[0].step)
    validated = [step for step in steps if step.valid_loss is not None]
    chosen = _thinned(validated or steps)
    if chosen[-1] is not steps[-1]:
        chosen.append(steps[-1])
    return "\n".join(
        ["```", *plot, "```", "", _row(HEADER), _row(["---"] * len(HEADER)), *map(_cells, chosen)]
    )


def _thinned(steps: Sequence[StepMetrics]) -> list[StepMetrics]:
    """At most ROWS_MAX of them, evenly apart, the first and the last included."""
    if len(steps) <= ROWS_MAX:
        return list(steps)
    return [steps[round(row * (len(steps) - 1) / (ROWS_MAX - 1))] for row in range(ROWS_MAX)]


def _cells(step: StepMetrics) -> str:
    return _row(
        [
            f"{step.step}",
            f"{step.epoch:.2f}",
            f"{step.train_loss:.4f}",
            f"{step.train_mean_token_accuracy:.1%}",
            "" if step.valid_loss is None else f"{step.valid_loss:.4f}",
            f"{step.learning_rate:.2e}",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
