"""A base model, and adapters for it: as small as they can be."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from orchestrator.models.registry import LoraSpec, ModelSpec, Registry


def spec_of(source: str = "org/none", *, rank_max: int | None = 32) -> ModelSpec:
    """`yard-smoke` with its weights in `source`; without `rank_max` it takes no adapters."""
    return ModelSpec(
        id="yard-smoke",
        source=source,
        context_length=512,
        endpoints=("/v1/chat/completions",),
        input_price=1,
        cached_input_price=1,
        output_price=1,
        lora=None if rank_max is None else LoraSpec(rank_max=rank_max, training_price=1),
    )


def registry_of(*, rank_max: int | None) -> Registry:
    """A registry of that one model."""
    return Registry((spec_of(rank_max=rank_max),))


def safetensors(tensors: dict[str, tuple[int, ...]], *, dtype: str = "F32", item_bytes: int = 4) -> bytes:
    """A file of zeros with these shapes."""
    header, position = {}, 0
    for name, shape in tensors.items():
        size = item_bytes
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(position)


def write_base(folder: Path) -> Path:
    """A base model of two layers, 8 wide: `q_proj` 8x8, `down_proj` 8x16."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (32, 8), "model.norm.weight": (8,)}
    for layer in range(2):
        shapes[f"model.layers.{layer}.self_attn.q_proj.weight"] = (8, 8)
        shapes[f"model.layers.{layer}.mlp.down_proj.weight"] = (8, 16)
    (folder / "model.safetensors").write_bytes(safetensors(shapes))
    return folder


def lora_tensors(rank: int = 4, *, outputs: int = 8, inputs: int = 8) -> dict[str, tuple[int, ...]]:
    """The shapes of an adapter that changes `q_proj` in both layers of that base."""
    module = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    return {
        **{module.format(layer, "A"): (rank, inputs) for layer in range(2)},
        **{module.format(layer, "B"): (outputs, rank) for layer in range(2)},
    }


def lora_config(**given: Any) -> dict[str, Any]:
    """Its config, with what PEFT writes beside what counts."""
    usual = {
        **{"peft_type": "LORA", "task_type": "CAUSAL_LM", "peft_version": "0.21.2"},
        **{"base_model_name_or_path": "yard-smoke", "inference_mode": True, "auto_mapping": None},
        **{"r": 4, "lora_alpha": 8, "lora_dropout": 0.05, "bias": "none", "fan_in_fan_out": False},
        **{"target_modules": ["q_proj"], "use_dora": False, "use_rslora": False, "modules_to_save": None},
        **{"rank_pattern": {}, "alpha_pattern": {}, "init_lora_weights": True, "qalora_group_size": 16},
    }
    return usual | given


def adapter_zip(
    tensors: dict[str, tuple[int, ...]] | None = None,
    *,
    config: dict[str, Any] | bytes | None = None,
    weights: bytes | None = None,
    method: int = zipfile.ZIP_DEFLATED,
    **more: bytes,
) -> bytes:
    """The ZIP of an adapter, good unless told otherwise; `more` are further members by name."""
    config = lora_config() if config is None else config
    members: dict[str, bytes] = {
        "adapter_model.safetensors": safetensors(tensors or lora_tensors()) if weights is None else weights,
        "adapter_config.json": config if isinstance(config, bytes) else json.dumps(config).encode(),
    }
    return zipped(members | more, method=method)


def zipped(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP of these members."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def unpacked(folder: Path, **given: Any) -> Path:
    """The two files of a good adapter in `folder`, which is made."""
    with zipfile.ZipFile(io.BytesIO(adapter_zip(**given))) as archive:
        archive.extractall(folder)
    return folder
