"""Base models for adapters, and adapters for them, both as small as they can be."""

import json
from pathlib import Path

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
