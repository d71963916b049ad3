"""When a training is given up."""

import math

import pytest

from workers.training import health
from workers.training.position import Position


def run(losses: list[float]) -> None:
    position = Position()
    for step, loss in enumerate(losses, 1):
        health.check(position, step, loss, 1.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_its_step_and_what_to_try(loss: float) -> None:
    with pytest.raises(health.Diverged, match=r"Step 3 .*smaller learning_rate_multiplier") as raised:
        run([2.0, 2.0, loss])
    assert raised.value.step == 3


def test_a_gradient_that_is_no_number_is_as_bad() -> None:
    with pytest.raises(health.Diverged, match="Step 1 "):
        health.check(Position(), 1, 2.0, math.nan)


def test_a_loss_that_explodes_and_stays_there_names_the_step_where_it_began() -> None:
    with pytest.raises(health.Diverged, match=r"from 2\.00 to 11\.00 .* since step 21") as raised:
        run([2.0] * 20 + [11.0] * 30)
    assert raised.value.step == 21


def test_a_loss_that_comes_back_is_none() -> None:
    run([2.0] * 20 + [11.0] * 9 + [3.0] + [11.0] * 9 + [2.0] * 20)


def test_a_loss_that_was_high_from_the_start_is_none() -> None:
    run([16.0] * 50)
