"""`yard chat`."""

import json

import pytest

from api.cli import chat
from tests.api.cli.conftest import Yard
from tests.api.cli.scripted import ScriptedApi

ASK = "POST /v1/chat/completions"
PIECES = [
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"delta": {"content": "[Par"}}]},
    {"choices": [{"delta": {"content": "is]"}}]},
    {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
]
STREAM = b"".join(b"data: " + json.dumps(piece).encode() + b"\n\n" for piece in PIECES) + b"data: [DONE]\n\n"


def test_an_answer_is_printed_as_it_comes(yard: Yard, api: ScriptedApi) -> None:
    api.on(ASK, STREAM)
    said = yard("chat", "tiny", "The capital?", "--system", "Be short.", "--max-tokens", "5")
    assert said.stdout == "[Paris]\n"
    assert "9 tokens in, 2 out" in said.stderr
    (asked,) = api.asked
    assert asked.json() == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "The capital?"},
        ],
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_cold_model_is_waited_for_and_said_once(
    yard: Yard, api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "LOOK_SECONDS", 0.0)
    for _ in range(2):
        api.refuse(ASK, 503, message="No engine of 'tiny' is warm.", code="model_cold")
    api.on(ASK, STREAM)
    said = yard("chat", "tiny", "The capital?")
    assert said.stdout == "[Paris]\n"
    assert said.stderr.count("No engine of 'tiny' is warm.") == 1


def test_an_answer_that_breaks_off_is_an_error(yard: Yard, api: ScriptedApi) -> None:
    api.on(ASK, b'data: {"error": {"message": "The engine ended."}}\n\n')
    said = yard("chat", "tiny", "The capital?")
    assert (said.exit_code, "The engine ended." in said.stderr) == (4, True)
