"""A training's page in Prefect: its curve, and some of its steps."""

import pytest

from flows.loss_curve import ROWS_MAX, loss_curve
from orchestrator.fine_tuning.events import StepMetrics


def steps(count: int, *, first: int = 1, validated_every: int | None = None) -> list[StepMetrics]:
    return [
        StepMetrics(
            step=step,
            epoch=step / 10,
            train_loss=4 / step,
            train_mean_token_accuracy=0.5,
            learning_rate=0.001,
            grad_norm=1.0,
            trained_tokens=100 * step,
            valid_loss=0.25 if validated_every and step % validated_every == 0 else None,
        )
        for step in range(first, first + count)
    ]


def rows(page: str) -> list[list[str]]:
    """The table's cells, without its head."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_curve_comes_first_in_a_block_of_its_own() -> None:
    _, plot, _ = loss_curve(steps(100)).split("```")
    assert plot.splitlines()[1].split()[0] == f"{sum(4 / s for s in (1, 2)) / 2:.3g}"
    assert plot.splitlines()[-1].split() == ["step", "1", "100"]


def test_a_curve_that_begins_later_says_so() -> None:
    assert "step 501" in loss_curve(steps(40, first=501))


@pytest.mark.parametrize("count", [1, ROWS_MAX, 500])
def test_the_table_has_some_steps_the_first_and_the_last_among_them(count: int) -> None:
    found = [int(row[0]) for row in rows(loss_curve(steps(count)))]
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (1, count)
    assert len(found) == min(count, ROWS_MAX)


def test_steps_that_were_validated_go_first_and_the_last_step_is_always_there() -> None:
    found = rows(loss_curve(steps(25, validated_every=10)))
    assert [(row[0], row[4]) for row in found] == [("10", "0.2500"), ("20", "0.2500"), ("25", "")]
