from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.fine_tuning.hyperparameters import Resolved, resolve
from orchestrator.fine_tuning.machine import GIB, Machine
from orchestrator.fine_tuning.memory import CPU_MICRO_TOKENS, Fits, TooLarge, preflight
from orchestrator.fine_tuning.model import Method
from tests.orchestrator.fine_tuning.dataset_facts import base, facts, qwen3_8b

SHAPE = qwen3_8b()


def gpu(gib: float) -> Machine:
    return Machine(cuda=True, memory_bytes=int(gib * GIB))


def training(**numbers: object) -> Resolved:
    return replace(resolve({}, Method.SUPERVISED, facts(1_000), base()), **numbers)


def test_eight_billion_weights_take_what_they_take():
    verdict = preflight(SHAPE, training(), facts(1_000, longest=4_000), gpu(141))
    assert isinstance(verdict, Fits)
    assert verdict.need is not None
    assert verdict.need.weights == pytest.approx(2 * 8.19e9, rel=0.01)
    assert verdict.need.adapter == pytest.approx(16 * 43.6e6, rel=0.01)  # rank 16 on every linear layer


def test_less_memory_means_smaller_micro_batches_then_checkpointing_then_a_refusal():
    cut = []
    for gib in (141, 80, 40, 24, 12):
        verdict = preflight(SHAPE, training(), facts(1_000, longest=2_000), gpu(gib))
        cut.append(
            (verdict.micro_tokens, verdict.gradient_checkpointing) if isinstance(verdict, Fits) else None
        )
    plain = [size for size, checkpointing in filter(None, cut) if not checkpointing]
    dear = [size for size, checkpointing in filter(None, cut) if checkpointing]
    assert plain == sorted(plain, reverse=True)
    assert dear == sorted(dear, reverse=True)
    assert plain
    assert dear
    assert cut[-1] is None


def test_a_refusal_has_the_numbers_and_what_would_fit():
    verdict = preflight(SHAPE, training(), facts(1_000, longest=4_000), gpu(16))
    assert isinstance(verdict, TooLarge)
    assert "needs at least 18." in verdict.message
    assert "weights 15.3 GiB" in verdict.message
    assert "14.7 GiB of the 16.0 GiB" in verdict.message
    assert "'quantization': 'nf4'" in verdict.message
    assert isinstance(
        preflight(SHAPE, training(quantization="nf4"), facts(1_000, longest=4_000), gpu(16)), Fits
    )


def test_shorter_examples_are_advised_where_they_are_what_is_too_much():
    long = facts(1_000, longest=32_000)
    verdict = preflight(SHAPE, training(), long, gpu(24))
    assert isinstance(verdict, TooLarge)
    assert "examples of at most 8,192 tokens" in verdict.message
    assert isinstance(preflight(SHAPE, training(), replace(long, longest=8_192), gpu(24)), Fits)


def test_a_smaller_rank_is_advised_where_that_is_enough():
    heavy = training(lora=replace(training().lora, r=256))
    verdict = preflight(SHAPE, heavy, facts(1_000, longest=500), gpu(24))
    assert isinstance(verdict, TooLarge)
    assert "a LoRA rank of 32" in verdict.message


def test_where_nothing_helps_nothing_is_advised():
    verdict = preflight(SHAPE, training(), facts(longest=500), gpu(2))
    assert isinstance(verdict, TooLarge)
    assert "No single change would make it fit." in verdict.message


def test_the_longest_example_sets_the_peak_however_small_the_micro_batch():
    short, long = (preflight(SHAPE, training(), facts(longest=n), gpu(40)) for n in (9_000, 40_000))
    assert short.need is not None
    assert long.need is not None
    assert short.need.activations < long.need.activations


def test_a_preference_holds_two_sequences_at_once():
    one, two = (
        preflight(SHAPE, training(), facts(longest=18_000), gpu(40), sequences_per_example=n) for n in (1, 2)
    )
    assert one.need is not None
    assert two.need is not None
    assert one.need.activations < two.need.activations


def test_a_small_training_is_not_counted_as_a_full_micro_batch():
    tiny = preflight(SHAPE, training(batch_size=1), facts(longest=10), gpu(141))
    assert tiny.need is not None
    assert tiny.need.activations < GIB


def test_without_the_models_files_nothing_is_refused():
    verdict = preflight(None, training(), facts(), Machine(cuda=False, memory_bytes=1))
    assert verdict == Fits(CPU_MICRO_TOKENS[-1], False, None, 1)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(16, 40_000))
def test_what_fits_goes_on_to_fit_with_more_memory(less: int, more: int, longest: int):
    small, large = (
        preflight(SHAPE, training(), facts(longest=longest), gpu(gib)) for gib in sorted((less, more))
    )
    if isinstance(small, Fits):
        assert isinstance(large, Fits)
        assert small.need is not None
        assert small.need.total() <= min(less, more) * GIB
