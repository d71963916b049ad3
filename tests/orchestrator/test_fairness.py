"""Properties over many small yards, where every case of rounding happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.fairness import Demand, shares, spread

DEMANDS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.builds(Demand, st.integers(0, 50), st.sampled_from([0.25, 1.0, 2.0, 3.7, 10.0])),
    max_size=8,
)
SLOTS = st.integers(0, 100)


@given(SLOTS, DEMANDS)
def test_slots_are_all_given_as_long_as_somebody_wants_them(slots: int, demands: dict[str, Demand]) -> None:
    given_ = shares(slots, demands)
    assert given_.keys() == demands.keys()
    assert sum(given_.values()) == min(slots, sum(demand.lines for demand in demands.values()))
    assert all(0 <= given_[name] <= demands[name].lines for name in demands)


@given(SLOTS, DEMANDS)
def test_nobody_starves_while_there_are_slots_for_all(slots: int, demands: dict[str, Demand]) -> None:
    wanting = [name for name in demands if demands[name].lines]
    given_ = shares(slots, demands)
    assert sum(given_[name] > 0 for name in wanting) == min(slots, len(wanting))


@given(SLOTS, DEMANDS)
def test_nobody_could_have_more_without_taking_from_one_that_has_less_for_its_weight(
    slots: int, demands: dict[str, Demand]
) -> None:
    given_ = shares(slots, demands)
    for poor, wish in demands.items():
        for rich in demands:
            if given_[poor] < wish.lines and given_[rich] > 1:
                # One slot more would make the poor one at least as rich as the rich one is now.
                after = (given_[poor] + 1) / wish.weight
                assert after >= (given_[rich] - 1) / demands[rich].weight * (1 - 1e-9)


@given(SLOTS, DEMANDS)
def test_every_driver_comes_to_the_same_division(slots: int, demands: dict[str, Demand]) -> None:
    assert shares(slots, dict(reversed(demands.items()))) == shares(slots, demands)


def test_weights_divide_what_is_short() -> None:
    demands = {"free": Demand(1000, 1.0), "enterprise": Demand(1000, 3.0)}
    assert shares(100, demands) == {"free": 25, "enterprise": 75}


def test_what_a_small_batch_does_not_need_goes_to_the_others() -> None:
    demands = {"small": Demand(5, 10.0), "a": Demand(1000, 1.0), "b": Demand(1000, 1.0)}
    assert shares(65, demands) == {"small": 5, "a": 30, "b": 30}


@given(DEMANDS, st.lists(st.integers(0, 40), max_size=6))
def test_spreading_keeps_every_share_and_overbooks_no_engine(
    demands: dict[str, Demand], capacities: list[int]
) -> None:
    given_ = shares(sum(capacities), demands)
    on_engines = spread(given_, capacities)
    assert {name: sum(slots) for name, slots in on_engines.items()} == given_
    for number, capacity in enumerate(capacities):
        assert sum(slots[number] for slots in on_engines.values()) <= capacity


def test_many_small_batches_use_all_engines() -> None:
    on_engines = spread({f"batch_{number}": 1 for number in range(8)}, [2, 4, 2])
    assert [sum(column) for column in zip(*on_engines.values(), strict=True)] == [2, 4, 2]


def test_a_large_batch_fills_engines_in_proportion() -> None:
    assert spread({"batch": 50}, [100, 50, 50]) == {"batch": [25, 13, 12]}


def test_sharing_out_more_than_there_is_is_an_error() -> None:
    with pytest.raises(ValueError, match="11 slots are shared, but there are 10"):
        spread({"batch": 11}, [10])
