from typing import Any

import pytest

from orchestrator.metering.prices import Prices
from orchestrator.metering.quotes import (
    HISTORY_LINES_MIN,
    P90_SLOWDOWN,
    ModelLoad,
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
        "tokens_per_second": 100.0,
        **changes,
    }
    return ModelLoad(**values)


def test_expected_output_is_the_mean_of_earlier_answers():
    quoted = quote({"m": load()}, 0.0)
    assert quoted.prompt_tokens == 1_000
    assert quoted.expected_output_tokens == 300
    assert quoted.worst_output_tokens == 800
    assert quoted.basis == "Output from the mean of earlier answers for m."


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


def test_the_batch_starts_after_what_is_ahead_and_the_start_of_an_engine():
    quoted = quote({"m": load(tokens_ahead=500, start_seconds=30.0)}, 0.0)
    assert quoted.start_p50_seconds == 35.0
    assert quoted.finish_p50_seconds == 35.0 + 13.0
    assert quoted.finish_p90_seconds == 48.0 * P90_SLOWDOWN


def test_models_run_side_by_side():
    quoted = quote({"slow": load(tokens_per_second=10.0), "fast": load()}, 0.0)
    assert (quoted.start_p50_seconds, quoted.finish_p50_seconds) == (0.0, 130.0)
    assert quoted.prompt_tokens == 2_000


def test_an_unmeasured_model_leaves_the_times_open_and_says_so():
    quoted = quote({"new": load(tokens_per_second=None), "m": load()}, 0.0)
    assert quoted.start_p50_seconds is None
    assert quoted.finish_p50_seconds is None
    assert quoted.finish_p90_seconds is None
    assert "No times: the rate of new has not been measured yet." in quoted.basis
    assert quoted.expected_cost_micros > 0


def test_a_batch_without_a_line_costs_nothing():
    quoted = quote({}, 0.5)
    assert (quoted.worst_cost_micros, quoted.finish_p50_seconds, quoted.basis) == (0, None, "")
