import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.metering.prices import (
    Prices,
    cost_micros,
    training_cost_micros,
    training_price_micros,
)

PRICES = Prices(input=50_000, cached_input=25_000, output=80_000)  # $0.05, $0.025, $0.08 a million
COUNTS = st.integers(0, 10**12)


def usage(input_tokens: int = 0, output_tokens: int = 0, cached_tokens: int = 0) -> dict[str, int]:
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cached_tokens": cached_tokens,
    }


@pytest.mark.parametrize(
    ("used", "discount", "micros"),
    [
        (usage(input_tokens=1_000_000), 0.0, 50_000),
        (usage(output_tokens=1_000_000), 0.0, 80_000),
        (usage(input_tokens=1_000_000, cached_tokens=1_000_000), 0.0, 25_000),
        (usage(1_000_000, 1_000_000, 400_000), 0.0, 600_000 // 20 + 10_000 + 80_000),
        (usage(1_000_000, 1_000_000), 0.5, 65_000),
        (usage(1_000_000, 1_000_000), 1.0, 0),
        (usage(1_000_000), 0.1, 45_000),
        ({}, 0.0, 0),
    ],
)
def test_every_kind_of_token_has_its_price(used: dict[str, int], discount: float, micros: int):
    assert cost_micros(used, PRICES, discount) == micros


def test_a_part_of_a_micro_dollar_is_not_charged():
    assert cost_micros(usage(input_tokens=39), PRICES, 0.0) == 1  # 1.95
    assert cost_micros(usage(input_tokens=39), PRICES, 0.5) == 0  # 0.975


def test_large_numbers_are_exact():
    assert cost_micros(usage(10**15 + 20), PRICES, 0.0) == 50_000 * 10**9 + 1


def test_an_engine_that_reports_more_cached_than_read_is_not_paid_for_it():
    assert cost_micros(usage(1_000_000, 0, 9_000_000), PRICES, 0.0) == 25_000


@given(COUNTS, COUNTS, COUNTS, st.floats(0, 1))
def test_a_discount_never_adds_and_more_tokens_never_cost_less(
    input_tokens: int, cached: int, output: int, discount: float
):
    used = usage(input_tokens, output, cached)
    more = usage(input_tokens + 1_000, output + 1_000, cached)
    assert 0 <= cost_micros(used, PRICES, discount) <= cost_micros(used, PRICES, 0.0)
    assert cost_micros(used, PRICES, discount) <= cost_micros(more, PRICES, discount)


def test_training_costs_its_tokens_times_the_tiers_factor_rounded_down():
    price_micros = training_price_micros(500_000, 1.1)
    assert price_micros == 550_000
    assert training_cost_micros(1_000_000, price_micros) == 550_000
    assert training_cost_micros(3, price_micros) == 1
    assert training_cost_micros(10**12, training_price_micros(500_000, 0.0)) == 0
