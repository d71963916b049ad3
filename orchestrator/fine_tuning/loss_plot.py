"""A curve as a few lines of blocks, for a terminal or a page without anything to draw with."""

from collections.abc import Sequence
from itertools import pairwise

WIDTH = 60
HEIGHT = 6
EIGHTHS = " ▁▂▃▄▅▆▇█"
GUTTER = 8  # columns for the numbers at the left


def loss_plot(
    losses: Sequence[float], *, first_step: int = 1, width: int = WIDTH, height: int = HEIGHT
) -> list[str]:
    """The lines of a bar chart over the steps, the highest loss at its top and zero at its bottom.

    More losses than columns are averaged, so a column says how it went there, not how one step did.
    """
    columns = _averaged(losses, width)
    if not columns:
        return []
    top = max(columns) or 1.0
    eighths = [max(1, round(8 * height * loss / top)) for loss in columns]
    lines = []
    for row in reversed(range(height)):
        label = {height - 1: f"{top:.3g}", 0: "0"}.get(row, "")
        bars = "".join(EIGHTHS[min(8, max(0, bar - 8 * row))] for bar in eighths)
        lines.append(f"{label:>{GUTTER}} {bars}".rstrip())
    first, last = str(first_step), str(first_step + len(losses) - 1)
    room = max(len(columns) - len(first), len(last) + 1)
    steps = f"{first}{last:>{room}}" if len(losses) > 1 else first
    return [*lines, f"{'step':>{GUTTER}} {steps}"]


def _averaged(losses: Sequence[float], width: int) -> list[float]:
    """At most `width` means of neighbours."""
    count = min(width, len(losses))
    edges = [round(column * len(losses) / count) for column in range(count + 1)] if count else []
    return [sum(losses[start:end]) / (end - start) for start, end in pairwise(edges)]
