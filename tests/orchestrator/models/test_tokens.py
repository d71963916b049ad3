import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models import tokens
from orchestrator.models.tokens import Prompt, PromptBody, TokenCounter, tokenizer_folder
from tests.tiny_tokenizer import write_tokenizer

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi there"}]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def counter(source: Path) -> TokenCounter:
    return TokenCounter(source)


@pytest.mark.parametrize(
    ("endpoint", "body", "text", "count"),
    [
        (CHAT, {"messages": HI}, "user hi there end assistant", 5),
        (CHAT, {"messages": [*HI, *HI]}, "user hi there end user hi there end assistant", 9),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, {"image": 1}]}]},
            "user hi end assistant",
            4,
        ),
        (
            CHAT,
            {"messages": HI, "tools": [{"type": "function", "function": {"name": "search"}}]},
            "tool search user hi there end assistant",
            7,
        ),
        (
            CHAT,
            {
                "messages": HI,
                "chat_template_kwargs": {"shout": True, "chat_template": "stranger's"},
            },
            "user hi there end assistant LOUD",
            6,
        ),
        ("/v1/completions", {"prompt": "one two"}, "one two", 3),
        ("/v1/completions", {"prompt": ["one two", "three"]}, "one two\nthree", 5),
        ("/v1/completions", {"prompt": [5, 6, 7]}, "[5, 6, 7]", 3),
        ("/v1/completions", {"prompt": [[5, 6], "one"]}, "[5, 6]\none", 4),
        ("/v1/embeddings", {"input": ["one", "two three"]}, "one\ntwo three", 5),
        ("/v1/responses", {"input": "hi there"}, "user hi there end assistant", 5),
        (
            "/v1/responses",
            {
                "instructions": "be nice",
                "input": [{"role": "user", "content": "hi"}, {"type": "x"}],
            },
            "system be nice end user hi end assistant",
            8,
        ),
    ],
)
def test_a_prompt_is_counted_as_the_model_sees_it(
    counter: TokenCounter, endpoint: str, body: dict[str, Any], text: str, count: int
):
    [prompt] = counter.count([(endpoint, PromptBody(**body))])
    assert (prompt.text, prompt.tokens) == (text, count)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (CHAT, {}),
        (CHAT, {"messages": 5}),
        (CHAT, {"messages": [5]}),
        (CHAT, {"messages": [{"role": "user", "content": [5]}]}),
        (CHAT, {"messages": [{"role": "user", "content": None}]}),
        (CHAT, {"messages": HI, "chat_template_kwargs": {"conversation": 1}}),
        ("/v1/responses", {"input": 5}),
        ("/v1/completions", {"prompt": {"a": 1}}),
        ("/v1/completions", {"prompt": [True]}),
        ("/v1/embeddings", {"input": [[]]}),
    ],
)
def test_what_no_template_can_render_is_estimated(counter: TokenCounter, endpoint: str, body: dict[str, Any]):
    [prompt] = counter.count([(endpoint, PromptBody(**body))])
    assert prompt == tokens.estimate(prompt.text.encode())
    assert prompt.text.startswith("{")


def test_an_estimate_is_a_quarter_of_the_bytes_rounded_up():
    assert tokens.estimate("äöü".encode()) == Prompt("äöü", 2)


def test_without_a_tokenizer_everything_is_estimated():
    [prompt] = TokenCounter(None).count([("/v1/completions", PromptBody(prompt="hi"))])
    assert prompt == Prompt('{"prompt":"hi"}', 4)


def test_a_request_of_several_prompts_says_so(counter: TokenCounter):
    [prompt] = counter.count([("/v1/completions", PromptBody(prompt=["a", "b", [1]]))])
    assert prompt.prompts == 3


def test_answers_come_in_the_order_of_the_questions_whatever_the_groups(
    counter: TokenCounter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tokens, "ENCODED_CHARACTERS_MAX", 10)
    requests = []
    for n in range(1, 10):
        requests.append((CHAT, PromptBody(messages=[{"role": "user", "content": "x " * n}])))
        requests.append(("/v1/completions", PromptBody(prompt="x " * n)))
        requests.append((CHAT, PromptBody(messages=n)))
    counts = [prompt.tokens for prompt in counter.count(requests)]
    assert counts[0::3] == [n + 3 for n in range(1, 10)]
    assert counts[1::3] == [n + 1 for n in range(1, 10)]
    assert counts[2::3] == [4] * 9


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path):
    with pytest.raises((OSError, ValueError)):
        TokenCounter(tmp_path)


def test_counting_says_nothing_about_a_missing_torch(source: Path):
    program = f"from orchestrator.models.tokens import TokenCounter; TokenCounter({str(source)!r})"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout + ran.stderr == ""


def test_a_folder_without_a_tokenizer_leaves_sizes_to_be_estimated(tmp_path: Path) -> None:
    assert tokenizer_folder(str(tmp_path)) is None
    (tmp_path / "tokenizer.json").touch()
    assert tokenizer_folder(str(tmp_path)) == str(tmp_path)
