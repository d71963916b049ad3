"""What all commands have in common: who is asked, with which key, and how errors end."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from api.cli.exits import Exit
from api.cli.main import app
from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi


def test_a_refusal_is_said_in_the_yards_own_words(yard: Yard, api: ScriptedApi) -> None:
    message = "Batches of the free tier hold 100 lines; this has 500. The developer tier lifts it."
    api.refuse("GET /v1/batches/b", 403, message=message, code="not_available_for_plan", param="x")
    result = yard("batch", "get", "b")
    assert result.exit_code == Exit.REFUSED
    assert message in result.stderr
    assert "code: not_available_for_plan  param: x  request: req_1" in result.stderr
    assert "Traceback" not in result.output


def test_a_yard_that_cannot_answer_now_is_not_a_refusal(yard: Yard, api: ScriptedApi) -> None:
    api.refuse("GET /v1/batches/b", 503, message="The database is away.")
    assert yard("batch", "get", "b").exit_code == Exit.UNREACHABLE


def test_an_answer_from_something_else_is_no_traceback(yard: Yard, api: ScriptedApi) -> None:
    api.on("GET /v1/batches/b", b"<html>", status=502)
    result = yard("batch", "get", "b")
    assert result.exit_code == Exit.UNREACHABLE
    assert "HTTP 502" in result.stderr


def test_no_yard_says_where_it_was_looked_for(
    yard: Yard, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YARD_BASE_URL", "http://127.0.0.1:1")
    result = yard("batch", "list")
    assert result.exit_code == Exit.UNREACHABLE
    assert "No yard answers at http://127.0.0.1:1" in result.stderr
    assert "yard up" in result.stderr


@pytest.mark.parametrize(
    ("words", "key"), [(["batch", "list"], "for-customers"), (["org", "list"], "for-operators")]
)
def test_a_yard_on_this_machine_is_asked_with_its_demo_keys(
    yard: Yard,
    api: ScriptedApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    key: str,
) -> None:
    monkeypatch.delenv("YARD_API_KEY")
    keys = {"developer": "for-customers", "operator": "for-operators"}
    (tmp_path / "demo_keys.json").write_text(json.dumps(keys))
    for path in ("batches", "organizations"):
        api.on(f"GET /v1/{path}", {"data": [], "has_more": False})
    assert yard(*words).exit_code == Exit.OK
    assert api.asked[0].headers["authorization"] == f"Bearer {key}"


def test_demo_keys_are_never_sent_to_another_machine(
    yard: Yard, api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("YARD_API_KEY")
    monkeypatch.setenv("YARD_BASE_URL", "https://yard.example.com")
    (tmp_path / "demo_keys.json").write_text('{"developer": "secret"}')
    result = yard("batch", "list")
    assert result.exit_code == Exit.USAGE
    assert "Set YARD_API_KEY" in result.stderr


def test_without_any_key_the_way_to_one_is_named(
    yard: Yard, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("YARD_API_KEY")
    result = yard("batch", "list")
    assert result.exit_code == Exit.USAGE
    assert "demo_keys.json is not there" in result.stderr


def test_tiers_need_no_key(yard: Yard, api: ScriptedApi) -> None:
    tiers = [
        {
            "name": "free",
            "title": "Free",
            "batch_lines_max": 100,
            "fine_tuning": False,
            "fine_tuning_jobs": None,
        },
        {
            "name": "big",
            "title": "Big",
            "batch_lines_max": None,
            "fine_tuning": True,
            "fine_tuning_jobs": None,
        },
    ]
    prices = {"input": 50_000, "cached_input": 25_000, "output": 80_000, "training": None}
    models = [{"id": "large", "prices": prices}]
    api.on("GET /v1/tiers", {"data": tiers, "models": models, "sandbox": "To try."})
    result = yard("tiers")
    assert "large\t$0.050000\t$0.025000\t$0.080000" in result.stdout
    assert "batch lines max\t100\tno limit" in result.stdout
    assert "fine tuning\tno\tyes" in result.stdout
    assert "fine tuning jobs\t-\tno limit" in result.stdout
    assert "authorization" not in api.asked[0].headers


def commands(group: Any, *path: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found += [(*path, name)] if inner is None else commands(command, *path, name)
    return found


def test_the_help_names_every_exit_code_and_shows_examples(yard: Yard) -> None:
    text = yard("--help").stdout
    for code in Exit:
        assert str(code.value) in text
    assert "yard batch submit lines.jsonl --wait" in text


def test_every_command_explains_itself_in_a_sentence(yard: Yard) -> None:
    known = commands(get_command(app))
    assert ("batch", "submit") in known
    for words in known:
        result = yard(*words, "--help")
        assert result.exit_code == Exit.OK
        assert "." in result.stdout
        assert "Usage:" in result.stdout
