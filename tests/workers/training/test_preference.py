"""DPO: what it computes, and what the smoke model learns by it: reviews answered as JSON, not in words."""

from pathlib import Path
from typing import Any

import pytest

from tests.workers.training.programs import measure

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def measured(smoke_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return measure("preference", smoke_model, tmp_path_factory.mktemp("preference"))


def of(reports: Any, kind: str) -> Any:
    return [report for report in reports if report["type"] == kind]


def test_loss_and_gradients_of_packed_pairs_are_those_of_transformers_sequence_by_sequence(
    measured: Any,
) -> None:
    assert measured["against_transformers"]["loss"] < 1e-5
    assert measured["against_transformers"]["gradients"] < 1e-5
    assert measured["against_transformers"]["right"] == 0


def test_small_packs_give_the_loss_and_gradients_of_a_large_one(measured: Any) -> None:
    assert measured["small_packs"]["loss"] < 1e-5
    assert measured["small_packs"]["gradients"] < 1e-5
    assert measured["small_packs"]["right"] == 0


def test_the_smoke_model_learns_what_is_preferred(measured: Any) -> None:
    steps = of(measured["learning"], "step")
    assert steps[0]["train_mean_token_accuracy"] == 0  # no pair is ranked by an adapter that changes nothing
    assert of(measured["learning"], "evaluation")[-1]["valid_mean_token_accuracy"] > 0.95
    assert steps[-1]["train_loss"] < steps[0]["train_loss"] / 2


def test_what_is_preferred_becomes_likely_and_not_only_less_unlikely(measured: Any) -> None:
    assert measured["preferred"]["after"] > measured["preferred"]["before"] + 1


def test_a_training_that_goes_on_ends_bit_for_bit_where_one_does_that_never_stopped(measured: Any) -> None:
    whole, resumed = (of(measured[name], "step") for name in ("learning", "resumed"))
    assert measured["stopped_at"] == 5
    assert [step["train_loss"] for step in resumed] == [step["train_loss"] for step in whole[5:]]
    assert measured["same_adapter"]
