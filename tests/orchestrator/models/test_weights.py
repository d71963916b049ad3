"""What weight files say of themselves."""

import json
import random
from pathlib import Path

import pytest

from orchestrator.models.weights import linear_shapes, read_header
from tests.tiny_adapters import safetensors, write_base


def file_of(header: object, body: int = 0) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(body)


def test_a_base_model_s_linear_layers_are_known_without_its_embeddings_and_norms(tmp_path: Path):
    shapes = linear_shapes(str(write_base(tmp_path)))
    assert shapes
    assert shapes["model.layers.1.mlp.down_proj"] == (8, 16)
    assert len(shapes) == 4


def test_packed_weights_are_known_by_name_only(tmp_path: Path):
    (tmp_path / "a.safetensors").write_bytes(safetensors({"l.q_proj.qweight": (1, 8)}, dtype="I32"))
    (tmp_path / "b.safetensors").write_bytes(
        safetensors({"l.k_proj.weight": (32, 1)}, dtype="U8", item_bytes=1)
    )
    assert linear_shapes(str(tmp_path)) == {"l.q_proj": None, "l.k_proj": None}


def test_a_model_in_several_files_is_known_once_all_are_there(tmp_path: Path):
    index = {
        "weight_map": {"l.q_proj.weight": "model-1.safetensors", "l.k_proj.weight": "model-2.safetensors"}
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "consolidated.safetensors").write_bytes(safetensors({"l.wq.weight": (8, 8)}))
    (tmp_path / "model-1.safetensors").write_bytes(safetensors({"l.q_proj.weight": (8, 8)}))
    assert linear_shapes(str(tmp_path)) is None
    (tmp_path / "model-2.safetensors").write_bytes(safetensors({"l.k_proj.weight": (4, 8)}))
    assert linear_shapes(str(tmp_path)) == {"l.q_proj": (8, 8), "l.k_proj": (4, 8)}


def test_a_model_that_is_not_here_has_no_shapes(tmp_path: Path):
    assert linear_shapes(str(tmp_path)) is None
    assert linear_shapes("org/never-downloaded") is None


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04K\x01.",
        file_of({"a": ONE}),
        file_of({"a": ONE}, 9),
        file_of({"a": ONE, "b": ONE}, 8),
        file_of({"a": ONE | {"data_offsets": [4, 12]}}, 12),
        file_of({"a": ONE | {"shape": [-2]}}, 8),
        file_of({"a": ONE | {"shape": [1 << 70]}}, 8),
        file_of({"a": ONE | {"shape": [[2]]}}, 8),
        file_of({"a": ONE | {"shape": 2}}, 8),
        file_of({"a": ONE | {"dtype": "OBJECT"}}, 8),
        file_of({"a": [1]}),
        file_of([]),
        (1 << 40).to_bytes(8, "little") + b"{}",
        b"\xff" * 8,
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, data: bytes):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError, match="tensors"):
        read_header(tmp_path / "x")


def test_any_damage_to_a_header_is_a_value_error(tmp_path: Path):
    whole, chance, refused = file_of({"a": ONE}, 8), random.Random(3), 0
    for _ in range(300):
        data = bytearray(whole)
        data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / "x").write_bytes(data)
        try:
            read_header(tmp_path / "x")
        except ValueError:
            refused += 1
    assert 150 < refused < 300
