"""models.toml: what ships, what its comments promise, and what it says to those who err."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.metering.prices import Prices
from orchestrator.models import smoke
from orchestrator.models.registry import SHIPPED, ModelSpec, Registry

VALID = {
    "source": '"org/model"',
    "context_length": "4096",
    "endpoints": '["/v1/chat/completions"]',
    "input_price": "0.2",
    "cached_input_price": "0.1",
    "output_price": "0.6",
}


def _load(tmp_path: Path, **changed: str | None) -> ModelSpec:
    """The one model of a file with these keys changed; None leaves a key out."""
    keys = {**VALID, **changed}
    lines = [f"{key} = {value}" for key, value in keys.items() if value is not None]
    path = tmp_path / "models.toml"
    path.write_text("\n".join(['[models."mine"]', *lines]))
    [spec] = Registry.load(path, home=tmp_path).all()
    return spec


def test_the_yard_ships_with_its_smoke_model(tmp_path: Path) -> None:
    registry = Registry.load(None, home=tmp_path)
    spec = registry.get("yard-smoke")
    assert spec is not None
    assert spec.source == str(smoke.folder(tmp_path))
    assert spec.prices() == Prices(50_000, 25_000, 80_000, training=500_000)
    assert registry.get("gpt-5") is None


def test_every_example_in_the_comments_is_right_once_uncommented(tmp_path: Path) -> None:
    examples = re.findall(r'^# (\[models\."(?!<id>).*\](?:\n# \S.*)+)', SHIPPED.read_text(), re.MULTILINE)
    text = "\n".join(line.removeprefix("# ") for example in examples for line in example.splitlines())
    tables = tomllib.loads(text)["models"]
    assert len(tables) == 4
    tables["llama-70b"]["source"] = str(tmp_path)  # the folder is the operator's
    for name, table in tables.items():
        assert ModelSpec.model_validate({**table, "id": name}).context_length > 0


def test_the_head_of_the_shipped_file_explains_every_key() -> None:
    head = SHIPPED.read_text().partition("\n\n")[0]
    for key in set(ModelSpec.model_fields) - {"id"}:
        assert re.search(rf"\b{key}\b", head), key


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"input_prise": "1"}, "input_prise: no such key; the keys are source, url,"),
        ({"context_length": None}, "context_length: Field required"),
        ({"context_length": "0"}, "context_length: Input should be greater than 0"),
        ({"output_price": '"free"'}, "output_price: Input should be a valid decimal"),
        ({"output_price": "-1"}, "output_price: Input should be greater than or equal to 0"),
        ({"endpoints": '["/v1/chat"]'}, "endpoints: unknown are /v1/chat; known are /v1/chat/completions"),
        ({"source": None}, "either `source` or `url`"),
        ({"url": '"http://fleet"'}, "either `source` or `url`"),
        ({"source": None, "url": '"fleet:8000"'}, "url: 'fleet:8000' is no address"),
        ({"api_key_file": '"/run/key"'}, "`api_key_file` goes with `url`"),
        ({"source": '"./nowhere"'}, "source: there is no folder"),
        ({"id": '"other"'}, "whose name is the id"),
    ],
)
def test_a_mistake_is_named_with_file_model_and_key(
    tmp_path: Path, changed: dict[str, str | None], complaint: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)) as refused:
        _load(tmp_path, **changed)
    assert str(refused.value).startswith(f"{tmp_path / 'models.toml'}: model 'mine': ")


def test_all_mistakes_of_a_model_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gpus: .*; output_price: |output_price: .*; gpus: "):
        _load(tmp_path, gpus="0", output_price="-1")


@pytest.mark.parametrize(
    "text", ["", "[models", "[models]", '[models."a"]\nsource = 1\n[tiers]', 'models = "all"']
)
def test_a_file_that_is_no_list_of_models_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        Registry.load(path, home=tmp_path)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "none.toml"))):
        Registry.load(tmp_path / "none.toml", home=tmp_path)


def test_a_folder_below_the_home_becomes_an_absolute_path(tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert _load(tmp_path, source='"models/mine"').source == str(tmp_path / "models" / "mine")


def test_any_other_source_is_left_for_the_engine_to_find(tmp_path: Path) -> None:
    assert _load(tmp_path).source == "org/model"


@pytest.mark.parametrize("url", ["http://fleet:8000", "http://fleet:8000/", "http://fleet:8000/v1/"])
def test_an_address_may_be_copied_with_or_without_v1(tmp_path: Path, url: str) -> None:
    assert _load(tmp_path, source=None, url=f'"{url}"').url == "http://fleet:8000"


def test_a_key_file_is_read_anew_each_time(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("first\n")
    spec = _load(tmp_path, source=None, url='"http://fleet"', api_key_file=f'"{key_file}"')
    assert spec.api_key() == "first"
    key_file.write_text("second\n")
    assert spec.api_key() == "second"


def test_defaults_are_those_that_the_file_names(tmp_path: Path) -> None:
    head = SHIPPED.read_text().partition("\n\n")[0]
    spec = _load(tmp_path)
    named: dict[str, Any] = {
        key: re.search(rf"^#   {key} .*\((.+)\)$", head, re.MULTILINE)
        for key in ("gpus", "max_num_seqs", "engine_flags", "idle_seconds")
    }
    for key, found in named.items():
        assert found is not None, key
        value = getattr(spec, key)
        assert found.group(1) == str(list(value) if isinstance(value, tuple) else value)
