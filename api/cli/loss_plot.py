"""A curve as a few lines of blocks, for a terminal without anything to draw with."""

from collections.abc import Sequence
from itertools import pairwise

WIDTH = 60
HEIGHT = 6
EIGHTHS = " ▁▂▃▄▅▆▇█"
GUTTER = 8  # columns for the numbers at the left


def loss_plot(losses: Sequence[float], *, width: int = WIDTH, height: int = HEIGHT) -> list[str]:
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
    last = str(len(losses))
    steps = f"1{last:>{max(len(columns) - 1, len(last) + 1)}}" if len(losses) > 1 else "1"
    return [*lines, f"{'step':>{GUTTER}} {steps}"]


def _averaged(losses: Sequence[float], width: int) -> list[float]:
    """At most `width` means of neighbours."""
    count = min(width, len(losses))
    edges = [round(column * len(losses) / count) for column in range(count + 1)] if count else []
    return [sum(losses[start:end]) / (end - start) for start, end in pairwise(edges)]
