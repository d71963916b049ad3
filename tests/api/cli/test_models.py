"""`yard model`: adapters from the terminal."""

import json
from pathlib import Path
from typing import Any

from api.cli.exits import Exit
from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi, file

ADAPTER = "ft:yard-smoke:acme:topics:7p4l0q2x"
PATH = "/v1/models/ft%3Ayard-smoke%3Aacme%3Atopics%3A7p4l0q2x"


def model(**given: Any) -> dict[str, Any]:
    prices = {"input": 50_000, "cached_input": 25_000, "output": 80_000, "currency": "usd"}
    usual = {"id": "yard-smoke", "object": "model", "created": 1_800_000_000, "owned_by": "tokenyard"}
    more = {"parent": None, "description": "Small.", "context_window": 2048, "endpoints": ["/v1/completions"]}
    return usual | more | {"prices": prices, "adapter": None} | given


def adapter() -> dict[str, Any]:
    facts = {"rank": 8, "target_modules": ["q_proj", "v_proj"], "bytes": 12_000, "sha256": "ab" * 32}
    more = {"name": "topics", "origin": "imported", "source": "ft_1", "shared": False, "card": {}}
    return model(id=ADAPTER, parent="yard-smoke", owned_by="org_1", adapter=facts | more)


def test_models_are_listed_with_prices_and_owners(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/models", {"data": [model(), adapter()]})
    lines = yard("model", "list").stdout.splitlines()
    assert lines[0] == "yard-smoke\t2048\t$0.050000\t$0.025000\t$0.080000\ttokenyard"
    assert lines[1].startswith(ADAPTER)
    assert lines[1].endswith("org_1")


def test_one_model_shows_how_it_was_made(yard: Yard, api: ScriptedApi) -> None:
    api.on(f"GET {PATH}", adapter())
    shown = yard("model", "get", ADAPTER).stdout
    assert "q_proj, v_proj" in shown
    assert "ft_1" in shown
    api.on("GET /v1/models/yard-smoke", model())
    assert "changes" not in yard("model", "get", "yard-smoke").stdout
    assert json.loads(yard("model", "get", "yard-smoke", "--json").stdout) == model()


def test_an_adapter_is_brought_in_one_command(yard: Yard, api: ScriptedApi, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"zip")
    api.on("POST /v1/files", file(id="file-1"))
    api.on("POST /v1/fine_tunings", {"id": "ft_1", "data": {"fine_tuned_model": ADAPTER}})
    api.on("DELETE /v1/files/file-1", {"id": "file-1", "deleted": True})
    result = yard("model", "import", tmp_path / "a.zip", "--base", "yard-smoke", "--name", "topics")
    assert result.stdout == f"{ADAPTER}\n"
    assert b"fine_tuning" in api.asked[0].body
    expected = {"input_file_id": "file-1", "base_model": "yard-smoke", "name": "topics", "type": "lora"}
    assert api.asked[1].json() == expected


def test_a_refused_adapter_leaves_no_file_behind(yard: Yard, api: ScriptedApi, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"zip")
    api.on("POST /v1/files", file(id="file-1"))
    api.refuse("POST /v1/fine_tunings", 400, message="This adapter cannot be served: 'r' is 64.")
    api.on("DELETE /v1/files/file-1", {"id": "file-1", "deleted": True})
    result = yard("model", "import", tmp_path / "a.zip", "--base", "yard-smoke")
    assert result.exit_code == Exit.REFUSED
    assert "'r' is 64" in result.stderr
    assert api.requests()[-1] == "DELETE /v1/files/file-1"


def test_an_adapter_is_downloaded_deleted_and_shared(yard: Yard, api: ScriptedApi, tmp_path: Path) -> None:
    api.on(f"GET {PATH}/content", b"PK")
    yard("model", "download", ADAPTER, "-o", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == b"PK"
    api.on(f"DELETE {PATH}", {"id": ADAPTER, "deleted": True})
    assert yard("model", "delete", ADAPTER).stdout == f"deleted {ADAPTER}\n"
    api.on(f"POST {PATH}", adapter())
    assert yard("model", "share", ADAPTER).stdout == f"{ADAPTER} is shared now\n"
    assert yard("model", "share", ADAPTER, "--private").stdout == f"{ADAPTER} is private now\n"
    assert [asked.json() for asked in api.asked[-2:]] == [{"shared": True}, {"shared": False}]
