"""Whether an adapter's weights are for this base model: every tensor's name, type and shape, from headers."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.adapters.servable import CODE
from orchestrator.errors import Invalid
from orchestrator.models import weights
from orchestrator.models.registry import ModelSpec

DTYPES = ("F32", "F16", "BF16")
_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_WEIGHT_BYTES_MAX = 4  # of the widest of DTYPES


def bytes_max(spec: ModelSpec, *, otherwise: int) -> int:
    """How many bytes the weights of an adapter for `spec` can have: its largest rank on every linear layer.
    `otherwise`, where the base's shapes are not known here, and at most."""
    shapes = weights.linear_shapes(spec.source) if spec.source else None
    if spec.lora is None or not shapes or None in shapes.values():
        return otherwise
    parameters = sum(sum(shape) for shape in shapes.values() if shape) * spec.lora.rank_max
    return min(otherwise, parameters * _WEIGHT_BYTES_MAX + weights.HEADER_BYTES_MAX)


def check(path: Path, config: Mapping[str, Any], spec: ModelSpec) -> None:
    """Pass where the safetensors file at `path` is what `config` (already checked) says, and fits the base
    model. Raises Invalid."""
    try:
        tensors = weights.read_header(path)
    except ValueError as error:
        raise _refused(f"{path.name}: {error}") from None
    sides: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        found = _NAME.fullmatch(name)
        if found is None:
            raise _refused(
                f"it has a tensor {name[:200]!r}; engines serve only "
                "'base_model.model.<module>.lora_A.weight' and 'lora_B.weight'"
            )
        if tensor.dtype not in DTYPES or len(tensor.shape) != 2:
            raise _refused(
                f"{name[:200]} is {tensor.dtype} {list(tensor.shape)}; expected two dimensions of "
                + " or ".join(DTYPES)
            )
        sides.setdefault(found["module"], {})[found["side"]] = tensor.shape
    if not sides:
        raise _refused("it has no tensors")
    shapes = weights.linear_shapes(spec.source) if spec.source else None
    for module, pair in sides.items():
        _check_pair(module, pair, _rank_of(module, config))
        if shapes is not None:
            _check_place(module, (pair["B"][0], pair["A"][1]), shapes, spec)


def _check_pair(module: str, pair: Mapping[str, tuple[int, ...]], rank: int) -> None:
    if set(pair) != {"A", "B"}:
        raise _refused(f"{module[:200]} has lora_{''.join(pair)} alone; expected lora_A and lora_B")
    found = (pair["A"][0], pair["B"][1])
    if found != (rank, rank):
        raise _refused(f"{module[:200]} has ranks {found[0]} and {found[1]}; its config says {rank}")


def _check_place(
    module: str,
    found: tuple[int, int],
    shapes: Mapping[str, tuple[int, int] | None],
    spec: ModelSpec,
) -> None:
    if module not in shapes:
        raise _refused(
            f"it changes {module[:200]!r}, which is no linear layer of '{spec.id}': it is for another "
            "base model"
        )
    expected = shapes[module]
    if expected is not None and found != expected:
        raise _refused(
            f"{module} has {found[0]} outputs and {found[1]} inputs in it, {expected[0]} and {expected[1]} "
            f"in '{spec.id}': it is for another base model"
        )


def _rank_of(module: str, config: Mapping[str, Any]) -> int:
    """The rank of one module as PEFT reads the config: the first pattern that is the end of its name."""
    pattern: Mapping[str, int] = config.get("rank_pattern") or {}
    for name, rank in pattern.items():
        if module == name or module.endswith(f".{name}"):
            return rank
    rank = config["r"]
    assert isinstance(rank, int)
    return rank


def _refused(message: str) -> Invalid:
    return Invalid(f"This adapter cannot be served: {message}.", code=CODE, param="input_file_id")
