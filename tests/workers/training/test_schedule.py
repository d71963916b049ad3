"""The learning rate over a training."""

import pytest

from workers.training.schedule import learning_rate


def rates(*, warmup_steps: int, total_steps: int) -> list[float]:
    return [
        learning_rate(step, peak=1.0, warmup_steps=warmup_steps, total_steps=total_steps)
        for step in range(total_steps)
    ]


def test_it_rises_to_the_peak_and_falls_to_zero_in_straight_lines() -> None:
    assert rates(warmup_steps=4, total_steps=8) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25])


def test_without_a_warm_up_it_begins_at_the_peak() -> None:
    assert rates(warmup_steps=0, total_steps=4) == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_a_warm_up_as_long_as_the_training_only_rises() -> None:
    assert rates(warmup_steps=2, total_steps=2) == pytest.approx([0.5, 1.0])
