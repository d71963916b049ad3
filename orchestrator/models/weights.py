"""What a model's weight files say of themselves: the name, type and shape of every tensor, read from the
headers alone."""

import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.models.tokens import tokenizer_folder

HEADER_BYTES_MAX = 16 << 20
FILES_MAX = 1_000
DIMENSIONS_MAX = 8
ITEM_BITS: Mapping[str, int] = {
    **{"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8},
    **{"I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8},
    **{"F4": 4},
}
_PLAIN = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")  # one item of the tensor is one weight
_PACKED = re.compile(r"(?P<module>.+)\.(qweight|weight_packed)")  # GPTQ, AWQ, compressed-tensors
_EMBEDDINGS = re.compile(r"(^|\.)(embed\w*|\w*embeddings?|lm_head|wte|wpe)$")


class TensorFacts(NamedTuple):
    """One tensor of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, TensorFacts]:
    """Every tensor of a safetensors file. The file must be whole: the tensors lie one after the other and
    end where it ends. Raises ValueError saying what it is not."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(HEADER_BYTES_MAX, size - 8):
            raise ValueError("it is no safetensors file: it does not begin with the length of its header")
        text = file.read(length)
    try:
        tables = json.loads(text)
        tables.pop("__metadata__", None)
        tensors = {name: _tensor(name, table) for name, table in tables.items()}
        spans = sorted(tuple(table["data_offsets"]) for table in tables.values())
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"its safetensors header cannot be read: {error}") from None
    position = 0
    for start, end in spans:
        if start != position or end < start:
            raise ValueError(f"its tensors do not lie one after the other: one begins at byte {start}")
        position = end
    if position != size - 8 - length:
        raise ValueError(f"its tensors have {position} bytes, the file has {size - 8 - length} for them")
    return tensors


def linear_shapes(source: str) -> Mapping[str, tuple[int, int] | None] | None:
    """The linear layers of the model in `source`, a folder or a Hugging Face id that an engine has downloaded
    to this machine before: (outputs, inputs) by module name, without embeddings and the head; None for one
    whose weights are packed. None where its weights are not here, or not whole."""
    folder = source if Path(source).is_absolute() else tokenizer_folder(source)
    files = _weight_files(Path(folder)) if folder else []
    if not files or not all(file.is_file() for file in files):
        return None
    return _linear_shapes(tuple(files), max(file.stat().st_mtime_ns for file in files))


def _weight_files(folder: Path) -> list[Path]:
    """Those that make the model, by its index where it has one: some publish a second form beside it."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        return [folder / name for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values()))]
    return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))[:FILES_MAX]


@lru_cache(maxsize=32)
def _linear_shapes(files: tuple[Path, ...], _newest: int) -> Mapping[str, tuple[int, int] | None]:
    shapes: dict[str, tuple[int, int] | None] = {}
    for file in files:
        for name, tensor in read_header(file).items():
            packed = _PACKED.fullmatch(name)
            module = packed["module"] if packed else name.removesuffix(".weight")
            if _EMBEDDINGS.search(module):
                continue
            if packed or (name.endswith(".weight") and tensor.dtype not in _PLAIN and len(tensor.shape) == 2):
                shapes[module] = None
            elif name.endswith(".weight") and len(tensor.shape) == 2:
                shapes[module] = (tensor.shape[0], tensor.shape[1])
    return shapes


def _tensor(name: str, table: Any) -> TensorFacts:
    shape, (start, end) = table["shape"], table["data_offsets"]
    numbers = (*shape, start, end)
    if len(shape) > DIMENSIONS_MAX or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(f"{name}: a shape and offsets are whole numbers")
    bits = ITEM_BITS[table["dtype"]]
    for length in shape:
        bits *= length
    if bits != (end - start) * 8:
        raise ValueError(f"{name}: {table['dtype']} {shape} does not fit into {end - start} bytes")
    return TensorFacts(table["dtype"], tuple(shape))
