"""Adapters that PEFT and vLLM take, without training: low-rank noise on every layer of a small Llama."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from orchestrator.adapters.model import CONFIG, WEIGHTS


def make_adapter(folder: Path, base: Path, *, seed: int, rank: int = 8, scale: float = 0.2) -> Path:
    """Write both files into `folder`. The larger the scale, the less is left of the base's answers."""
    shape = json.loads((base / "config.json").read_text())
    noise = np.random.default_rng(seed)
    tensors = {}
    for layer in range(shape["num_hidden_layers"]):
        prefix = f"base_model.model.model.layers.{layer}.mlp.down_proj"
        tensors[f"{prefix}.lora_A.weight"] = noise.normal(size=(rank, shape["intermediate_size"]))
        tensors[f"{prefix}.lora_B.weight"] = noise.normal(size=(shape["hidden_size"], rank)) * scale
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.astype(np.float32) for name, tensor in tensors.items()}, folder / WEIGHTS)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["down_proj"],
    }
    (folder / CONFIG).write_text(json.dumps(config))
    return folder
