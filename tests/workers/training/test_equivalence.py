"""Packed training computes what transformers computes. All in fp32; differences are of rounding."""

from pathlib import Path
from typing import Any

import pytest

from tests.workers.training.programs import measure

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def measured(smoke_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return measure("equivalence", smoke_model, tmp_path_factory.mktemp("equivalence"))


def test_a_token_has_the_same_loss_in_a_pack_as_alone(measured: Any) -> None:
    assert measured["packed_against_alone"] < 2e-5


def test_an_example_does_not_see_its_neighbours(measured: Any) -> None:
    assert measured["leak"]["inside"] > 1
    assert measured["leak"]["outside"] < 1e-6


def test_small_packs_give_the_loss_and_gradients_of_a_large_one(measured: Any) -> None:
    assert measured["small_packs"]["loss"] < 1e-5
    assert measured["small_packs"]["gradients"] < 1e-5
    assert measured["small_packs"]["right"] == 0


def test_loss_accuracy_and_gradients_are_those_of_transformers(measured: Any) -> None:
    """Through the saved adapter, loaded by plain PEFT."""
    assert measured["against_transformers"]["loss"] < 1e-5
    assert measured["against_transformers"]["gradients"] < 1e-5
    assert measured["against_transformers"]["right"] == 0


def test_gradient_checkpointing_changes_nothing(measured: Any) -> None:
    assert measured["gradient_checkpointing"] == {"loss": 0, "gradients": 0, "right": 0}


def test_an_adapter_is_pefts_two_files_under_the_name_that_the_yard_gives_its_base(measured: Any) -> None:
    assert measured["files"] == ["adapter_config.json", "adapter_model.safetensors"]
    assert measured["saved_base"] == "yard-smoke"
