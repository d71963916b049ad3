"""A training's loss as a page of Markdown that a person looks at: a curve in Braille, and its numbers.

Pure. A character of Braille holds 2 by 4 dots, so that 60 of them beside each other show 120 points.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from orchestrator.fine_tuning.events import StepMetrics

T = TypeVar("T")

COLUMNS, LINES = 60, 10
DOTS_ACROSS, DOTS_DOWN = 2 * COLUMNS, 4 * LINES
TABLE_ROWS_MAX = 12
_BRAILLE = 0x2800
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column within a character


def loss_curve(steps: Sequence[StepMetrics]) -> str:
    """The curve of the training loss, and a table of some steps with what was validated."""
    return f"```\n{plot(steps)}\n```\n\n{table(steps)}\n"


def plot(steps: Sequence[StepMetrics]) -> str:
    """The training loss from the first step to the last, between its smallest and largest value."""
    losses = _thinned([step.train_loss for step in steps], DOTS_ACROSS)
    low, high = min(losses), max(losses)
    cells = [[0] * COLUMNS for _ in range(LINES)]
    before: int | None = None
    for x, loss in enumerate(_stretched(losses)):
        y = round((high - loss) / (high - low or 1.0) * (DOTS_DOWN - 1))
        for dot in _between(before, y):
            cells[dot // 4][x // 2] |= _BITS[dot % 4][x % 2]
        before = y
    lines = ["".join(chr(_BRAILLE + cell) for cell in line) for line in cells]
    scale = {0: f"{high:.4f}", LINES - 1: f"{low:.4f}"}
    framed = [f"{scale.get(number, ''):>9} ┤{line}" for number, line in enumerate(lines)]
    first, last = f"step {steps[0].step}", f"step {steps[-1].step}"
    return "\n".join([*framed, f"{'':>9} └{'─' * COLUMNS}", f"{'':>11}{first}{last:>{COLUMNS - len(first)}}"])


def table(steps: Sequence[StepMetrics]) -> str:
    """Some steps from first to last, those that were validated before others."""
    chosen = _thinned([step for step in steps if step.valid_loss is not None] or steps, TABLE_ROWS_MAX)
    if chosen[-1] is not steps[-1]:
        chosen = [*chosen, steps[-1]]
    rows = [
        f"| {step.step} | {step.epoch:.2f} | {step.train_loss:.4f} | {step.train_mean_token_accuracy:.1%} "
        f"| {_number(step.valid_loss)} | {step.learning_rate:.2e} |"
        for step in chosen
    ]
    return "\n".join(
        [
            "| step | epoch | loss | accuracy | validation loss | learning rate |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _thinned(values: Sequence[T], count: int) -> list[T]:
    """At most `count` of them, evenly apart, the first and the last included."""
    if len(values) <= count:
        return list(values)
    return [values[round(place * (len(values) - 1) / (count - 1))] for place in range(count)]


def _stretched(losses: Sequence[float]) -> Iterable[float]:
    """One value for each column of dots."""
    return (losses[column * len(losses) // DOTS_ACROSS] for column in range(DOTS_ACROSS))


def _between(before: int | None, here: int) -> range:
    """The dots of a column that join it to the one before."""
    if before is None or before == here:
        return range(here, here + 1)
    return range(before + 1, here + 1) if before < here else range(here, before)
