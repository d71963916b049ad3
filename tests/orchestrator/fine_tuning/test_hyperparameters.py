from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.fine_tuning.hyperparameters import BATCH_MAX, EPOCHS_MAX, base_rate, resolve
from orchestrator.fine_tuning.model import Method
from tests.orchestrator.fine_tuning.dataset_facts import base, facts, qwen3_8b


@pytest.mark.parametrize(
    ("examples", "batch_size", "n_epochs", "total_steps"),
    [
        (10, 1, 10, 100),
        (40, 4, 10, 100),
        (79, 7, 10, 120),
        (80, 8, 10, 100),
        (300, 8, 4, 152),
        (1_000, 8, 2, 250),
        (10_000, 20, 1, 500),
        (1_000_000, 32, 1, 31_250),
    ],
)
def test_auto_takes_enough_steps_of_a_batch_that_suits_the_dataset(
    examples: int, batch_size: int, n_epochs: int, total_steps: int
):
    resolved = resolve({}, Method.SUPERVISED, facts(examples), base())
    found = (resolved.batch_size, resolved.n_epochs, resolved.total_steps)
    assert found == (batch_size, n_epochs, total_steps)


@given(st.integers(1, 5_000_000))
def test_auto_is_always_within_bounds(examples: int):
    resolved = resolve({}, Method.SUPERVISED, facts(examples), base())
    assert 1 <= resolved.batch_size <= BATCH_MAX
    assert 1 <= resolved.n_epochs <= EPOCHS_MAX
    assert 0 <= resolved.warmup_steps < resolved.total_steps


def test_what_was_asked_for_is_taken():
    requested = {
        "hyperparameters": {"n_epochs": 3, "batch_size": 16, "learning_rate_multiplier": 0.5, "beta": 0.3},
        "lora": {"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["q_proj"], "use_rslora": True},
        "tokenyard": {
            "evaluate_every_steps": 5,
            "early_stopping_patience": 2,
            "example_tokens_max": 64,
            "quantization": "nf4",
        },
    }
    resolved = resolve(requested, Method.DPO, facts(100), base(learning_rate=1e-3))
    assert (resolved.total_steps, resolved.beta) == (21, 0.3)
    assert resolved.learning_rate == pytest.approx(1e-3 * 0.2 * 0.5)
    assert resolved.to_json() == {
        **requested["hyperparameters"],
        **requested["tokenyard"],
        "learning_rate": resolved.learning_rate,
        "warmup_steps": 1,
    }
    assert resolved.lora.to_json() == requested["lora"]


def test_a_default_rank_is_one_that_engines_serve():
    assert resolve({}, Method.SUPERVISED, facts(), base()).lora.r == 16
    assert resolve({}, Method.SUPERVISED, facts(), base(rank_max=8)).lora.r == 8


def test_the_learning_rate_is_the_models_own_or_tinkers_or_a_careful_one():
    qwen, untold = qwen3_8b(), base(learning_rate=None)
    assert base_rate(base(learning_rate=5e-3), qwen) == 5e-3
    # the figures that tinker-cookbook gives for Qwen3-8B and Llama-3.1-8B
    assert base_rate(untold, qwen) == pytest.approx(4.7e-4, rel=0.01)
    assert base_rate(untold, replace(qwen, model_type="llama")) == pytest.approx(2.9e-4, rel=0.02)
    assert base_rate(untold, replace(qwen, model_type="mistral")) == 2e-4
    assert base_rate(untold, None) == 2e-4
