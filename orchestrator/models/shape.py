"""How large a model is, from its config and the headers of its weight files; no torch, no weights read."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.models import weights

CONFIG = "config.json"


@dataclass(frozen=True)
class ModelShape:
    """`parameters` are all of them, `linear` the weight matrices among them that LoRA can change: (outputs,
    inputs) by module name. `width` is that of the hidden state, `vocabulary` that of the logits."""

    model_type: str
    width: int
    layers: int
    vocabulary: int
    parameters: int
    linear: Mapping[str, tuple[int, int]]

    def linear_parameters(self) -> int:
        """Weights of all linear layers."""
        return sum(outputs * inputs for outputs, inputs in self.linear.values())

    def targeted(self, target_modules: tuple[str, ...]) -> list[tuple[int, int]]:
        """(outputs, inputs) of the layers that an adapter with these targets changes; of none given, all."""
        return [
            size
            for module, size in self.linear.items()
            if not target_modules
            or any(module == target or module.endswith(f".{target}") for target in target_modules)
        ]


def read_shape(source: str) -> ModelShape | None:
    """The shape of the model in the folder `source`; None where its files are not on this machine, or do not
    say (weights that are packed already)."""
    linear = weights.linear_shapes(source)
    config = Path(source) / CONFIG
    if linear is None or not config.is_file():
        return None
    whole = {module: size for module, size in linear.items() if size is not None}
    facts: dict[str, Any] = json.loads(config.read_bytes())
    facts = facts.get("text_config") or facts
    try:
        return (
            ModelShape(
                model_type=str(facts["model_type"]),
                width=int(facts["hidden_size"]),
                layers=int(facts["num_hidden_layers"]),
                vocabulary=int(facts["vocab_size"]),
                parameters=_parameters(Path(source)),
                linear=whole,
            )
            if len(whole) == len(linear)
            else None
        )
    except KeyError:
        return None


def _parameters(folder: Path) -> int:
    return sum(
        math.prod(tensor.shape)
        for file in sorted(folder.glob("*.safetensors"))[: weights.FILES_MAX]
        for tensor in weights.read_header(file).values()
    )
