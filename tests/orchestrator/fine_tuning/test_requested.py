from typing import Any

import pytest

from orchestrator.errors import Invalid
from orchestrator.fine_tuning.model import Method
from orchestrator.fine_tuning.requested import check, example_tokens_max, read
from tests.orchestrator.fine_tuning.dataset_facts import base

SUPERVISED, DPO = Method.SUPERVISED, Method.DPO


def test_nothing_asked_is_everything_auto():
    asked = read({}, SUPERVISED)
    assert (asked.hyperparameters.n_epochs, asked.lora.r, asked.tokenyard.quantization) == (
        "auto",
        None,
        "none",
    )
    assert read({"hyperparameters": None, "lora": None}, DPO).hyperparameters.batch_size == "auto"


@pytest.mark.parametrize(
    ("requested", "method"),
    [
        ({"hyperparameters": {"n_epochs": 1, "batch_size": 256, "learning_rate_multiplier": 2}}, SUPERVISED),
        ({"hyperparameters": {"n_epochs": 50, "batch_size": "auto", "beta": 2}}, DPO),
        ({"lora": {"r": 32, "alpha": 64, "dropout": 0.1, "target_modules": ["q_proj"]}}, SUPERVISED),
        ({"tokenyard": {"example_tokens_max": 2_048, "quantization": "nf4"}}, SUPERVISED),
    ],
)
def test_what_is_within_bounds_passes(requested: dict[str, Any], method: Method):
    check(requested, method, base())


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("hyperparameters", "n_epochs", 0, "from 1"),
        ("hyperparameters", "n_epochs", 51, "50, or 'auto'"),
        ("hyperparameters", "n_epochs", 1.5, "whole number"),
        ("hyperparameters", "batch_size", 257, "256"),
        ("hyperparameters", "learning_rate_multiplier", 0, "above 0"),
        ("hyperparameters", "learning_rate_multiplier", float("nan"), "number above 0"),
        ("hyperparameters", "learning_rate_multiplier", 101, "100"),
        ("hyperparameters", "beta", 0.1, "Unknown parameter"),
        ("lora", "r", 33, "ranks from 1 to 32"),
        ("lora", "alpha", 0, "1"),
        ("lora", "dropout", 0.9, "0.5"),
        ("lora", "target_modules", [".*"], "not an expression"),
        ("lora", "rank", 8, "Unknown parameter"),
        ("tokenyard", "example_tokens_max", 2_049, "at most 2048"),
        ("tokenyard", "quantization", "int3", "'none' or 'nf4'"),
        ("tokenyard", "early_stopping_patience", 2, "Add a 'validation_file'"),
    ],
)
def test_what_is_out_of_bounds_names_the_parameter_and_the_bound(
    part: str, name: str, value: Any, words: str
):
    with pytest.raises(Invalid) as refused:
        check({part: {name: value}}, SUPERVISED, base(), has_validation_file=False)
    assert refused.value.param == f"method.supervised.{part}.{name}"
    assert words in refused.value.message


def test_beta_is_bounded():
    with pytest.raises(Invalid) as refused:
        check({"hyperparameters": {"beta": 2.1}}, DPO, base())
    assert refused.value.param == "method.dpo.hyperparameters.beta"


def test_examples_are_as_long_as_asked_or_as_the_model_allows():
    assert example_tokens_max({}, SUPERVISED, base()) == 2_048
    assert example_tokens_max({}, SUPERVISED, base(example_tokens_max=512)) == 512
    assert example_tokens_max({}, SUPERVISED, base(example_tokens_max=9_999)) == 2_048
    asked = {"tokenyard": {"example_tokens_max": 100}}
    assert example_tokens_max(asked, SUPERVISED, base()) == 100
