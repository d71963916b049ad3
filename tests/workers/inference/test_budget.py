"""What a drive may spend, line by line."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.batches.line_index import LineIndex, LineIndexBuilder
from orchestrator.batches.segments import LineUsage
from orchestrator.metering.prices import Prices, Rate
from tests.workers.inference.bench import bench, lines, said, start, until
from workers.inference.budget import QUOTE_ANSWERS, Budget

__all__ = ["bench", "start"]

RATE = Rate(Prices(input=1_000_000, cached_input=500_000, output=2_000_000), 0.0)  # a token is 1, or 2


def index_of(lines: int, *, prompt_tokens: int = 10, max_output_tokens: int = 100) -> LineIndex:
    empty = LineIndexBuilder().build(["m"], ["/v1/chat/completions"])
    columns = {"prompt_tokens": prompt_tokens, "max_output_tokens": max_output_tokens, "model": 0}
    return replace(
        empty,
        offset=np.zeros(lines, np.uint64),
        **{name: np.full(lines, value, np.uint32) for name, value in columns.items()},
    )


def budget_of(lines: int, granted: int | None, **options) -> Budget:
    """Lines of 10 prompt tokens and, as quoted, 20 of answer: 50 micro-dollars each."""
    budget = Budget(index_of(lines), todo=range(lines), rates={"m": RATE}, output_share=0.2, **options)
    budget.grant(granted)
    return budget


def test_lines_are_sent_while_their_expected_cost_is_granted():
    budget = budget_of(10, 149)
    assert [budget.reserve(line) for line in range(3)] == [True, True, False]


def test_a_line_that_comes_cheap_makes_room_for_the_next():
    budget = budget_of(10, 100)
    assert [budget.reserve(line) for line in range(3)] == [True, True, False]
    budget.answered(0, LineUsage(input_tokens=10, cached_tokens=10, output_tokens=1))  # 7
    assert not budget.reserve(2)  # 93 are left, and 50 in flight
    budget.answered(1, LineUsage(input_tokens=10, output_tokens=1))  # 12
    assert budget.reserve(2)


def test_a_line_without_a_result_gives_its_money_back():
    budget = budget_of(10, 50)
    assert budget.reserve(0)
    assert not budget.reserve(1)
    budget.release(0)
    assert budget.reserve(1)


def test_a_line_that_is_not_charged_costs_nothing():
    budget = budget_of(1, 50)
    budget.reserve(0)
    budget.answered(0, None)
    assert (budget.bill().spent, budget.bill().pending) == (0, 0)


def test_what_was_spent_is_what_will_be_charged():
    tenth = Rate(Prices(input=100_000, cached_input=50_000, output=200_000), 0.5)
    budget = Budget(index_of(1_000), todo=range(1_000), rates={"m": tenth})
    used = LineUsage(input_tokens=7, output_tokens=3)
    for line in range(1_000):
        budget.answered(line, used)
    assert budget.bill().spent == tenth.cost_micros({"input_tokens": 7_000, "output_tokens": 3_000}) == 650


def test_an_expectation_moves_from_the_quote_to_the_answers():
    budget = budget_of(1_000, None)
    long = LineUsage(input_tokens=10, output_tokens=80)
    for line in range(10 * QUOTE_ANSWERS):
        budget.answered(line, long)
    budget.grant(budget.bill().spent + 160)
    assert budget.reserve(500)
    assert budget.bill().pending == pytest.approx(10 + 2 * 80, rel=0.1)


def test_an_expectation_is_never_above_a_lines_bound():
    short = replace(index_of(2), max_output_tokens=np.array([100, 4], np.uint32))
    budget = Budget(short, todo=range(2), rates={"m": RATE}, output_share=1.0)
    budget.reserve(1)
    assert budget.bill().pending == 10 + 2 * 4


def test_more_is_asked_for_in_pieces_before_the_grant_is_used_up():
    budget = budget_of(100, 5_000)
    assert budget.bill().wanted == 0
    budget = budget_of(100, 200)
    bill = budget.bill()
    assert (bill.wanted, bill.least) == (500, 50)


def test_a_refused_line_is_told_of_once_for_each_grant():
    told = []
    budget = budget_of(10, 60, on_short=lambda: told.append(1))
    assert budget.reserve(0)
    assert not budget.reserve(1)
    assert not budget.reserve(1)
    assert len(told) == 1
    budget.grant(60)
    assert not budget.reserve(1)
    assert len(told) == 1
    budget.grant(90)
    assert not budget.reserve(1)
    assert len(told) == 2


def test_a_drive_is_stalled_once_nothing_is_in_flight_for_want_of_money():
    budget = budget_of(10, 60)
    budget.reserve(0)
    budget.reserve(1)
    assert not budget.stalled
    budget.answered(0, LineUsage(input_tokens=10, output_tokens=20))
    assert budget.stalled
    budget.grant(100)
    assert not budget.stalled


def test_an_attempt_goes_on_from_what_earlier_ones_have_spent():
    used = {"m": {"lines": 2, "input_tokens": 20, "output_tokens": 40}}
    budget = Budget(index_of(10), todo=range(2, 10), rates={"m": RATE}, used=used, output_share=0.2)
    assert budget.bill().spent == 100
    budget.grant(149)
    assert not budget.reserve(2)


def test_without_rates_and_a_limit_everything_may_be_sent():
    budget = Budget(index_of(3))
    assert all(budget.reserve(line) for line in range(3))
    assert budget.bill().spent == 0


async def test_a_drive_waits_for_money_and_goes_on_with_more(bench, start) -> None:
    engine, asked = await start(), asyncio.Event()
    bench.of(*lines(6))  # each costs 7 and twice 3 of answer
    sizes = {"prompt_tokens": 7, "max_output_tokens": 3}
    index = replace(bench.index, **{name: np.full(6, size, np.uint32) for name, size in sizes.items()})
    budget = Budget(index, todo=range(6), rates={"m": RATE}, output_share=1.0, on_short=asked.set)
    budget.grant(2 * 13)
    bench.orders.budget = budget
    driving = asyncio.create_task(bench.drive(engine.target(6)))
    await asked.wait()
    await until(lambda: budget.stalled)
    assert engine.seen.total() == 2
    budget.grant(6 * 13)
    bench.orders.changed.set()
    await driving
    assert await bench.contents() == said(6)
    assert engine.seen.total() == 6
