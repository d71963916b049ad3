"""What engines serve of what PEFT can write."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters import servable, tensors
from orchestrator.errors import Invalid
from orchestrator.models.registry import ModelSpec
from tests.tiny_adapters import lora_config, lora_tensors, safetensors, spec_of, write_base


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return spec_of(str(write_base(tmp_path / "base")), rank_max=8)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"r": 8},
        {"rank_pattern": {"layers.0.self_attn.q_proj": 8}, "alpha_pattern": {"q_proj": 16}},
        {"use_rslora": True},
        {"init_lora_weights": "gaussian"},
        {"target_modules": ["q_proj", "down_proj"]},
        {"target_modules": ["model.layers.1.mlp.down_proj"]},
        {"loftq_config": {}, "trainable_token_indices": None, "layer_replication": None},
    ],
)
def test_what_vllm_takes_passes(spec: ModelSpec, given: dict[str, Any]):
    servable.check(lora_config(**given), spec)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"r": 16}, "'r' is 16; engines of this model serve ranks from 1 to 8"),
        ({"r": 0}, "'r' is 0"),
        ({"r": True}, "'r' is True"),
        ({"r": "8"}, "'r' is '8'"),
        ({"rank_pattern": {"q_proj": 64}}, "'rank_pattern.q_proj' is 64; engines of this model serve ranks"),
        ({"rank_pattern": {"(a+)+$": 4}}, "not an expression"),
        ({"rank_pattern": [4]}, "expected an object"),
        ({"alpha_pattern": {"(a|a)*": 4}}, "not an expression"),
        ({"alpha_pattern": {"q_proj": "x"}}, "expected a number above 0"),
        ({"lora_alpha": float("nan")}, "'lora_alpha' is nan"),
        ({"bias": "all"}, "'bias' is 'all'; engines serve only 'none'"),
        ({"lora_bias": True}, "'lora_bias' is True; engines serve only adapters without it"),
        ({"modules_to_save": ["lm_head"]}, "'modules_to_save' is ['lm_head']"),
        ({"use_dora": True}, "'use_dora' is True"),
        ({"init_lora_weights": "pissa"}, "'init_lora_weights' is 'pissa'; engines serve only true, false or"),
        ({"init_lora_weights": {"a": 1}}, "'init_lora_weights' is {'a': 1}"),
        ({"layer_replication": [[0, 1]]}, "'layer_replication'"),
        ({"alora_invocation_tokens": [1]}, "'alora_invocation_tokens'"),
        ({"use_qalora": True}, "'use_qalora'"),
        ({"use_bdlora": {"x": 1}}, "'use_bdlora'"),
        ({"trainable_token_indices": [1]}, "'trainable_token_indices'"),
        ({"target_parameters": ["experts"]}, "'target_parameters'"),
        ({"of_next_year": 7}, "'of_next_year' is 7; engines serve only adapters without it"),
        ({"peft_type": "IA3"}, "'peft_type' is 'IA3'; engines serve only 'LORA'"),
        ({"target_modules": ["c_attn"]}, "has 'c_attn', which 'yard-smoke' does not have; its linear layers"),
        ({"target_modules": ["embed_tokens"]}, "its linear layers are down_proj, q_proj"),
        ({"target_modules": ["lm_head"]}, "'lm_head'"),
        ({"target_modules": ".*proj"}, "expected a list of module names"),
        ({"target_modules": []}, "expected a list of module names"),
        ({"target_modules": [".*"]}, "not an expression"),
    ],
)
def test_what_it_does_not_is_named_with_what_it_does(spec: ModelSpec, given: dict[str, Any], said: str):
    with pytest.raises(Invalid) as refused:
        servable.check(lora_config(**given), spec)
    assert said in refused.value.message
    assert refused.value.code == "adapter_not_servable"
    assert refused.value.param
    assert refused.value.param.split(".")[0] in given


@pytest.mark.parametrize("missing", ["r", "lora_alpha", "target_modules", "peft_type"])
def test_what_is_missing_is_named(spec: ModelSpec, missing: str):
    config = lora_config()
    del config[missing]
    with pytest.raises(Invalid, match=f"'{missing}' is missing"):
        servable.check(config, spec)


def test_a_model_without_lora_takes_none():
    with pytest.raises(Invalid, match="takes no adapters"):
        servable.check(lora_config(), spec_of(rank_max=None))


def test_a_training_is_held_to_the_same(spec: ModelSpec):
    servable.check_lora(r=8, target_modules=["q_proj"], spec=spec)
    servable.check_lora(r=8, spec=spec)
    with pytest.raises(Invalid) as refused:
        servable.check_lora(r=9, spec=spec, param="method.supervised.lora")
    assert refused.value.param == "method.supervised.lora.r"
    with pytest.raises(Invalid, match="'wqkv'"):
        servable.check_lora(r=8, target_modules=["wqkv"], spec=spec)


def test_without_the_base_s_weights_here_the_engine_has_the_last_word_on_names():
    servable.check(lora_config(target_modules=["c_attn"]), spec_of("org/not-downloaded"))


Q = "base_model.model.model.layers.0.self_attn.q_proj"
GOOD = lora_tensors()


def of(module: str, rank: int = 4, outputs: int = 8, inputs: int = 8) -> dict[str, tuple[int, ...]]:
    return {f"{module}.lora_A.weight": (rank, inputs), f"{module}.lora_B.weight": (outputs, rank)}


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (
            lora_tensors(inputs=16),
            "has 8 outputs and 16 inputs in it, 8 and 8 in 'yard-smoke': it is for another",
        ),
        (lora_tensors(outputs=16), "it is for another base model"),
        (of("base_model.model.model.layers.2.self_attn.q_proj"), "no linear layer of 'yard-smoke'"),
        (of("base_model.model.transformer.h.0.attn.c_attn"), "it is for another base model"),
        (of("base_model.model.model.embed_tokens"), "no linear layer"),
        (lora_tensors(rank=8), "has ranks 8 and 8; its config says 4"),
        (GOOD | {f"{Q}.lora_magnitude_vector": (8,)}, "it has a tensor"),
        (GOOD | {"base_model.model.lm_head.weight": (32, 8)}, "it has a tensor"),
        ({f"{Q}.lora_A.weight": (4, 8)}, "has lora_A alone"),
        ({f"{Q}.lora_A.weight": (4,), f"{Q}.lora_B.weight": (8, 4)}, "expected two dimensions"),
        ({}, "it has no tensors"),
    ],
)
def test_weights_for_another_base_or_of_another_kind_are_refused(
    spec: ModelSpec, tmp_path: Path, shapes: dict[str, tuple[int, ...]], said: str
):
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(safetensors(shapes))
    with pytest.raises(Invalid) as refused:
        tensors.check(path, lora_config(), spec)
    assert said in refused.value.message


def test_each_module_has_the_rank_that_its_pattern_says(spec: ModelSpec, tmp_path: Path):
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(safetensors(GOOD | of(Q, rank=2)))
    tensors.check(path, lora_config(rank_pattern={"layers.0.self_attn.q_proj": 2}), spec)
    with pytest.raises(Invalid, match="ranks 2 and 2; its config says 4"):
        tensors.check(path, lora_config(), spec)


def test_integers_are_no_weights(spec: ModelSpec, tmp_path: Path):
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(safetensors(GOOD, dtype="I32"))
    with pytest.raises(Invalid, match=r"is I32 .*; expected two dimensions of F32 or F16 or BF16"):
        tensors.check(path, lora_config(), spec)


def test_an_adapter_cannot_be_larger_than_its_base_allows(spec: ModelSpec):
    room = tensors.bytes_max(spec, otherwise=10**12)
    every_layer_at_rank_8_in_fp32 = 2 * ((8 + 8) + (8 + 16)) * 8 * 4
    assert 0 <= room - every_layer_at_rank_8_in_fp32 <= 16 * 2**20
    assert tensors.bytes_max(spec, otherwise=100) == 100
    assert tensors.bytes_max(spec_of("org/not-downloaded"), otherwise=10**12) == 10**12
