from typing import Any

import pytest

from orchestrator.metering.pace import Done, Pace, pace_of
from orchestrator.metering.prices import Prices
from orchestrator.metering.quotes import (
    HISTORY_LINES_MIN,
    ModelLoad,
    Neighbour,
    OutputHistory,
    quote,
)

PRICES = Prices(input=1_000_000, cached_input=500_000, output=2_000_000)  # a micro-dollar a token


def load(**changes: Any) -> ModelLoad:
    values: dict[str, Any] = {
        "lines": 10,
        "prompt_tokens": 1_000,
        "max_output_tokens": 800,
        "prices": PRICES,
        "history": OutputHistory(lines=100, output_tokens=3_000),
        "pace": Pace(fixed_seconds=0.0, seconds_per_token=0.01, p90=2.0),
        **changes,
    }
    return ModelLoad(**values)


def test_expected_output_is_the_mean_of_earlier_answers():
    quoted = quote({"m": load()}, 0.0)
    assert quoted.prompt_tokens == 1_000
    assert quoted.expected_output_tokens == 300
    assert quoted.worst_output_tokens == 800
    assert quoted.basis == "Output from the mean of earlier answers, your own first, for m."


def test_expected_output_never_passes_the_bound():
    chatty = OutputHistory(lines=100, output_tokens=100_000)
    assert quote({"m": load(history=chatty)}, 0.0).expected_output_tokens == 800


@pytest.mark.parametrize("history", [None, OutputHistory(HISTORY_LINES_MIN - 1, 10**6)])
def test_without_history_a_share_of_the_bound_is_taken_and_said(history: OutputHistory | None):
    quoted = quote({"m": load(history=history)}, 0.0)
    assert quoted.expected_output_tokens == 200
    assert "Output taken as 25% of the bound for m: fewer than 20 earlier answers" in quoted.basis


def test_costs_follow_the_tokens_and_the_discount():
    quoted = quote({"m": load()}, 0.5)
    assert quoted.expected_cost_micros == (1_000 + 2 * 300) // 2
    assert quoted.worst_cost_micros == (1_000 + 2 * 800) // 2


def test_the_batch_starts_with_an_engine_and_lasts_as_long_as_its_tokens():
    quoted = quote({"m": load(start_seconds=30.0, late_start_seconds=35.0)}, 0.0)
    assert (quoted.start_p50_seconds, quoted.start_p90_seconds) == (30.0, 35.0)
    assert quoted.finish_p50_seconds == 30.0 + 13.0
    assert quoted.finish_p90_seconds == 30.0 + 2 * 13.0
    quoted = quote({"m": load(start_seconds=30.0, late_start_seconds=90.0)}, 0.0)
    assert quoted.finish_p90_seconds == 90.0 + 13.0


@pytest.mark.parametrize(
    ("neighbours", "seconds"),
    [
        ([Neighbour(500, 1.0)], 13.0 + 5.0),
        ([Neighbour(10**9, 1.0)], 2 * 13.0),
        ([Neighbour(10**9, 2.0)], 3 * 13.0),
        ([Neighbour(10**9, 1.0), Neighbour(500, 2.0)], 2 * 13.0 + 5.0),
    ],
    ids=["a smaller one", "a huge one", "one that presses twice as hard", "both"],
)
def test_a_batch_waits_for_its_neighbours_as_far_as_they_share_its_engines(
    neighbours: list[Neighbour], seconds: float
):
    quoted = quote({"m": load(neighbours=neighbours)}, 0.0)
    assert (quoted.start_p50_seconds, quoted.finish_p50_seconds) == (0.0, pytest.approx(seconds))


def test_models_run_side_by_side():
    quoted = quote({"slow": load(pace=Pace(0.0, 0.1, 1.5)), "fast": load()}, 0.0)
    assert (quoted.start_p50_seconds, quoted.finish_p50_seconds) == (0.0, 130.0)
    assert quoted.prompt_tokens == 2_000


def test_an_unmeasured_model_leaves_the_times_open_and_says_so():
    quoted = quote({"new": load(pace=None), "m": load()}, 0.0)
    assert quoted.start_p50_seconds is None
    assert quoted.finish_p50_seconds is None
    assert quoted.finish_p90_seconds is None
    assert "No times: the rate of new has not been measured yet." in quoted.basis
    assert quoted.expected_cost_micros > 0


def test_a_batch_without_a_line_costs_nothing():
    quoted = quote({}, 0.5)
    assert (quoted.worst_cost_micros, quoted.finish_p50_seconds, quoted.basis) == (0, None, "")


def test_an_organization_s_own_answers_count_for_more_the_more_there_are():
    everybody = {"lines": 1_000, "output_tokens": 10_000}
    means = [
        OutputHistory(**everybody, own_lines=lines, own_output_tokens=30 * lines).mean()
        for lines in (0, 50, 1_000)
    ]
    assert means == [10.0, 20.0, pytest.approx(29.05, abs=0.01)]


def test_a_pace_is_read_off_batches_of_any_size():
    pace = pace_of([Done(tokens, 2.0 + tokens / 1_000) for tokens in (100, 1_000, 5_000, 20_000)])
    assert pace is not None
    assert pace.seconds(10_000) == pytest.approx(12.0, rel=0.05)
    assert pace.seconds(50) == pytest.approx(2.05, rel=0.1)


def test_a_pace_needs_few_batches_and_knows_how_late_some_are():
    alone = pace_of([Done(1_000, 10.0)])
    assert alone is not None
    assert (alone.seconds(2_000), alone.p90) == (20.0, 1.5)
    mixed = pace_of([Done(1_000, seconds) for seconds in (10, 10, 10, 10, 10, 10, 10, 10, 30, 40)])
    assert mixed is not None
    assert mixed.seconds(1_000) == pytest.approx(10.0)
    assert mixed.p90 == pytest.approx(4.0)
    assert pace_of([]) is None
