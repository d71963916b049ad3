"""Properties over many small yards, where every case of rounding happens."""

from collections import Counter

import pytest
from hypothesis import given, settings
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


OWNED = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.builds(Demand, st.integers(0, 50), st.sampled_from([0.25, 1.0, 3.7, 10.0]), st.sampled_from("xyz")),
    max_size=8,
)
RESERVED = st.dictionaries(st.sampled_from("xyz"), st.integers(0, 60))


def by_owner(counts: dict[str, int], demands: dict[str, Demand]) -> Counter[str]:
    """Slots or lines of all batches of each owner."""
    total: Counter[str] = Counter()
    for name, count in counts.items():
        total[demands[name].owner] += count
    return total


@settings(max_examples=40)
@given(SLOTS, OWNED, RESERVED)
def test_what_is_reserved_is_its_owner_s_as_far_as_it_wants_it(
    slots: int, demands: dict[str, Demand], reserved: dict[str, int]
) -> None:
    given_ = by_owner(shares(slots, demands, reserved=reserved), demands)
    wanted = by_owner({name: demand.lines for name, demand in demands.items()}, demands)
    promised = {owner: min(count, wanted[owner]) for owner, count in reserved.items()}
    if sum(promised.values()) <= slots:
        assert all(given_[owner] >= count for owner, count in promised.items())
    else:  # fewer engines than were promised: nothing is left to anybody else
        assert sum(given_[owner] for owner in promised) == slots
        assert all(given_[owner] <= count for owner, count in promised.items())


@settings(max_examples=40)
@given(SLOTS, OWNED, RESERVED)
def test_reserving_neither_makes_nor_wastes_slots(
    slots: int, demands: dict[str, Demand], reserved: dict[str, int]
) -> None:
    given_ = shares(slots, demands, reserved=reserved)
    assert given_.keys() == demands.keys()
    assert sum(given_.values()) == min(slots, sum(demand.lines for demand in demands.values()))
    assert all(0 <= given_[name] <= demands[name].lines for name in demands)


@settings(max_examples=40)
@given(SLOTS, OWNED, RESERVED)
def test_nobody_starves_for_what_is_reserved_while_there_are_slots_for_all(
    slots: int, demands: dict[str, Demand], reserved: dict[str, int]
) -> None:
    given_ = shares(slots, demands, reserved=reserved)
    starving = [name for name, demand in demands.items() if demand.lines and not given_[name]]
    if starving:  # then nobody has more than one slot, but of what is reserved for it
        beyond = {name: max(0, count - 1) for name, count in given_.items()}
        for owner, count in by_owner(beyond, demands).items():
            assert count == 0 or by_owner(given_, demands)[owner] <= reserved.get(owner, 0)


@settings(max_examples=40)
@given(SLOTS, OWNED)
def test_what_is_reserved_for_who_wants_nothing_is_lent_out(slots: int, demands: dict[str, Demand]) -> None:
    assert shares(slots, demands, reserved={"absent": 50}) == shares(slots, demands)


def test_a_reservation_comes_before_any_weight_and_ends_with_the_demand() -> None:
    heavy = {f"heavy_{n}": Demand(1000, 16.0, "big") for n in range(3)}
    reserved = {"small": 40}
    assert shares(100, heavy | {"light": Demand(1000, 1.0, "small")}, reserved=reserved)["light"] == 40
    assert shares(100, heavy | {"light": Demand(7, 1.0, "small")}, reserved=reserved)["light"] == 7
    assert sum(shares(100, heavy, reserved=reserved).values()) == 100


def test_beyond_its_reservation_an_owner_has_what_its_weight_gives() -> None:
    demands = {"a": Demand(1000, 3.0, "x"), "b": Demand(1000, 1.0, "y")}
    assert shares(100, demands, reserved={"x": 10}) == {"a": 75, "b": 25}
    assert shares(100, demands, reserved={"y": 40}) == {"a": 60, "b": 40}


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
