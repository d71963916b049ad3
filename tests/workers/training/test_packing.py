"""Which examples a step takes, and how they lie."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.datasets.token_file import TokenFile, TokenFileWriter
from workers.training.packing import IGNORED, epoch_order, first_fit_decreasing, packs, steps_per_epoch


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    """Five sequences; sequence n has the ids 10n, 10n+1, …"""
    path = tmp_path / "train.tokens"
    with TokenFileWriter(path) as writer:
        for number, length in enumerate([3, 5, 2, 4, 9]):
            writer.add([10 * number + place for place in range(length)], [0] + [1] * (length - 1))
    return TokenFile(path)


def test_the_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() -> None:
    first = epoch_order(7, 0, 100)
    assert sorted(first) == list(range(100))
    assert np.array_equal(first, epoch_order(7, 0, 100))
    assert not np.array_equal(first, epoch_order(7, 1, 100))
    assert not np.array_equal(first, epoch_order(8, 0, 100))


def test_the_order_will_never_change() -> None:
    """Else a checkpoint of an older yard would go on with other examples."""
    assert epoch_order(7, 0, 10).tolist() == [4, 5, 9, 8, 1, 7, 6, 0, 2, 3]
    assert sorted(epoch_order(-1, 3, 10)) == list(range(10))


def test_the_last_part_of_an_epoch_is_a_step() -> None:
    assert steps_per_epoch(17, 8) == 3
    assert steps_per_epoch(16, 8) == 2


@given(st.lists(st.integers(1, 100), min_size=1, max_size=60), st.integers(1, 120))
def test_every_example_is_in_one_pack_and_only_one_too_long_breaks_the_bound(
    lengths: list[int], room: int
) -> None:
    bins = first_fit_decreasing(lengths, room)
    assert sorted(place for places in bins for place in places) == list(range(len(lengths)))
    for places in bins:
        assert sum(lengths[place] for place in places) <= room or len(places) == 1


def test_packs_are_filled() -> None:
    assert first_fit_decreasing([6, 5, 5, 4], 10) == [[0, 3], [1, 2]]


def test_a_pack_learns_the_next_token_of_the_same_sequence_only(tokens: TokenFile) -> None:
    [pack] = packs(tokens, [[0], [2]], 100)
    assert pack.ids.tolist() == [0, 1, 2, 20, 21]
    assert pack.positions.tolist() == [0, 1, 2, 0, 1]
    assert pack.targets.tolist() == [1, 2, IGNORED, 21, IGNORED]
    assert pack.ends == (3, 5)


def test_what_is_only_read_is_no_target(tmp_path: Path) -> None:
    path = tmp_path / "train.tokens"
    with TokenFileWriter(path) as writer:
        writer.add([5, 6, 7, 8], [1, 0, 1, 0])
    [pack] = packs(TokenFile(path), [[0]], 100)
    assert pack.targets.tolist() == [IGNORED, 7, IGNORED, IGNORED]


def test_a_longer_example_is_a_pack_of_its_own(tokens: TokenFile) -> None:
    sizes = [len(pack.ids) for pack in packs(tokens, [[number] for number in range(5)], 8)]
    assert sizes == [9, 8, 6]


def test_the_sequences_of_an_example_stay_together(tokens: TokenFile) -> None:
    first, second = packs(tokens, [[0, 1], [2, 3]], 8)
    assert first.ends == (3, 8)
    assert second.ends == (2, 6)
