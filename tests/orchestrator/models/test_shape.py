import json
from pathlib import Path

import pytest

from orchestrator.models.shape import ModelShape, read_shape
from tests.tiny_adapters import write_base

CONFIG = {"model_type": "qwen3", "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 32}


@pytest.fixture
def shape(tmp_path: Path) -> ModelShape:
    (write_base(tmp_path) / "config.json").write_text(json.dumps(CONFIG))
    found = read_shape(str(tmp_path))
    assert found is not None
    return found


def test_a_shape_is_read_from_config_and_headers(shape: ModelShape):
    assert (shape.model_type, shape.width, shape.layers, shape.vocabulary) == ("qwen3", 8, 2, 32)
    assert shape.parameters == 32 * 8 + 8 + 2 * (8 * 8 + 8 * 16)
    assert shape.linear_parameters() == 2 * (8 * 8 + 8 * 16)


def test_targets_name_the_ends_of_modules_and_none_means_all(shape: ModelShape):
    assert shape.targeted(("q_proj",)) == [(8, 8)] * 2
    assert shape.targeted(("layers.0.mlp.down_proj",)) == [(8, 16)]
    assert len(shape.targeted(())) == 4


def test_a_model_that_sees_too_keeps_its_text_apart(tmp_path: Path):
    (write_base(tmp_path) / "config.json").write_text(json.dumps({"text_config": CONFIG}))
    found = read_shape(str(tmp_path))
    assert found is not None
    assert found.width == 8


def test_files_that_are_not_there_or_do_not_say_give_none(tmp_path: Path):
    assert read_shape("org/model") is None
    assert read_shape(str(tmp_path)) is None
    assert read_shape(str(write_base(tmp_path))) is None
    (tmp_path / "config.json").write_text("{}")
    assert read_shape(str(tmp_path)) is None
