import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.batches import preparation
from orchestrator.batches.line_index import LineIndex
from orchestrator.batches.preparation import (
    ModelSums,
    ModelTokens,
    Preparation,
    PreparationSpec,
    prepare,
)
from orchestrator.batches.validation import FileValidator, LineLimits, LineProblem
from tests.tiny_tokenizer import write_tokenizer

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
CONTEXT = 1_000

Prepare = Callable[..., Preparation]


def line(custom_id: str, *, model: str = "small", url: str = COMPLETIONS, **body: Any) -> bytes:
    body = {"model": model, **(body or {"prompt": "one two"})}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body}).encode()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture
def prepare_lines(tmp_path: Path, tokenizer: str) -> Prepare:
    """Prepare a file of these lines, in a yard of three models, of which `large` is not
    permitted."""

    def prepare_lines(*lines: bytes, **changes: Any) -> Preparation:
        (tmp_path / "input.jsonl").write_bytes(b"\n".join(lines))
        every = (CHAT, COMPLETIONS, EMBEDDINGS)
        options: dict[str, Any] = {
            "limits": LineLimits(lines_max=10_000, line_bytes_max=100_000),
            "models": {
                "small": ModelTokens(tokenizer, CONTEXT, every),
                "chat-only": ModelTokens(None, CONTEXT, (CHAT,), default_max_output=50),
                "large": ModelTokens(None, CONTEXT, every),
            },
            "refused": {"large": "The model 'large' is not available. The Developer tier has it."},
            **changes,
        }
        return prepare(PreparationSpec(tmp_path / "input.jsonl", tmp_path, **options))

    return prepare_lines


def index_of(prepared: Preparation) -> LineIndex:
    return LineIndex.from_bytes(prepared.index.read_bytes())


def report_of(prepared: Preparation) -> list[dict[str, Any]]:
    return [json.loads(told) for told in prepared.report.read_bytes().splitlines()]


def test_every_line_is_found_again_at_its_place(prepare_lines: Prepare, tmp_path: Path):
    lines = [b"\xef\xbb\xbf" + line("a"), line("b") + b"\r", b"bad", line("c")]
    index = index_of(prepare_lines(*lines))
    data = (tmp_path / "input.jsonl").read_bytes()
    found = [data[o : o + n] for o, n in zip(index.offset.tolist(), index.length, strict=True)]
    assert found == [line("a"), line("b"), b"bad", line("c")]
    assert index.wanted.tolist() == [True, True, False, True]


def test_tokens_are_counted_and_summed_by_model(prepare_lines: Prepare):
    prepared = prepare_lines(
        line("a", prompt="one two three", max_tokens=7),
        line("b", url=CHAT, messages=[{"role": "user", "content": "hi"}], max_completion_tokens=5),
        line("c", model="chat-only", url=CHAT, messages=[]),
    )
    index = index_of(prepared)
    assert index.models == ("small", "chat-only")
    assert [index.models[n] for n in index.model] == ["small", "small", "chat-only"]
    assert [index.endpoints[n] for n in index.endpoint] == [COMPLETIONS, CHAT, CHAT]
    assert index.prompt_tokens.tolist() == [4, 4, 4]
    assert prepared.models["small"] == ModelSums(2, 8, 12)
    assert prepared.models["chat-only"] == ModelSums(1, 4, 50)
    assert (prepared.lines, prepared.wanted_lines, prepared.bad_lines) == (3, 3, 0)


@pytest.mark.parametrize(
    ("body", "bound"),
    [
        ({"prompt": "x", "max_tokens": 10}, 10),
        ({"prompt": "x", "max_tokens": 10, "n": 3}, 30),
        ({"prompt": ["x", "x"], "max_tokens": 10, "n": 3}, 60),
        ({"prompt": "x"}, CONTEXT - 2),
        ({"prompt": "x", "max_tokens": 5 * CONTEXT}, CONTEXT - 2),
        ({"prompt": ["x", "x"]}, 2 * (CONTEXT - 2)),
        ({"prompt": "x " * CONTEXT}, 0),
        ({"prompt": "x", "max_output_tokens": 0}, 0),
    ],
)
def test_the_worst_case_is_what_was_asked_for_or_the_rest_of_the_context(
    prepare_lines: Prepare, body: dict[str, Any], bound: int
):
    assert index_of(prepare_lines(line("a", **body))).max_output_tokens.tolist() == [bound]


def test_embeddings_answer_no_tokens(prepare_lines: Prepare):
    index = index_of(prepare_lines(line("a", url=EMBEDDINGS, input="one two")))
    assert (index.prompt_tokens.tolist(), index.max_output_tokens.tolist()) == ([3], [0])


def test_prompts_share_as_many_prefixes_as_they_have_characters_in_common(prepare_lines: Prepare):
    common = "x" * 2_000
    prefix = index_of(
        prepare_lines(*(line(f"id-{n}", prompt=common + end) for n, end in enumerate("ab")))
    ).prefix
    assert (prefix[0] == prefix[1]).tolist() == [True, True, False, False]


def test_prefix_hashes_are_the_same_in_every_process(prepare_lines: Prepare):
    prefix = index_of(prepare_lines(line("a", prompt="x"))).prefix
    known = int.from_bytes(hashlib.blake2b(b"x", digest_size=8).digest(), "little")
    assert prefix.tolist() == [[known] * 4]


@pytest.mark.parametrize(
    ("bad", "code", "param", "words"),
    [
        (
            line("a", model="huge"),
            "model_not_found",
            "body.model",
            "The provided model 'huge' is not supported by the Batch API. Use 'small' or 'chat-only'.",
        ),
        (
            line("a", model="large"),
            "model_not_permitted",
            "body.model",
            "The model 'large' is not available. The Developer tier has it. Or use another model.",
        ),
        (
            line("a", model="chat-only"),
            "invalid_url",
            "url",
            "The model 'chat-only' does not serve /v1/completions. "
            "Change the URL to '/v1/chat/completions', or the model.",
        ),
    ],
)
def test_a_request_that_finds_no_model_says_what_to_change(
    prepare_lines: Prepare, bad: bytes, code: str, param: str, words: str
):
    prepared = prepare_lines(line("first"), bad)
    expected = LineProblem(2, "a", code, words, param, f"$.{param}")  # type: ignore[arg-type]
    assert prepared.first_problems == (expected,)
    assert prepared.bad_lines == 1
    assert index_of(prepared).wanted.tolist() == [True, False]


def test_the_report_is_complete_where_the_summary_is_not(prepare_lines: Prepare):
    prepared = prepare_lines(*[b"bad"] * 150, line("a"))
    assert len(prepared.first_problems) == 100
    assert [told["line"] for told in report_of(prepared)] == list(range(1, 151))
    assert report_of(prepared)[0]["code"] == "invalid_json_line"


def test_an_empty_file_has_one_problem_and_an_empty_index(prepare_lines: Prepare):
    prepared = prepare_lines()
    assert [told["code"] for told in report_of(prepared)] == ["empty_file"]
    assert len(index_of(prepared)) == 0


def test_only_the_chosen_lines_are_checked_and_counted(prepare_lines: Prepare):
    lines = [line("a"), b"bad", line("c"), line("c"), b"bad too"]
    prepared = prepare_lines(*lines, only_lines=[3, 5])
    assert index_of(prepared).wanted.tolist() == [False, False, True, False, False]
    assert [told["line"] for told in report_of(prepared)] == [5]
    assert (prepared.lines, prepared.wanted_lines, prepared.bad_lines) == (5, 1, 1)
    assert prepared.models["small"].lines == 1


def test_a_number_that_no_computer_holds_does_not_stop_the_count(prepare_lines: Prepare):
    raw = line("a", prompt=["NUMBER"]).replace(b'"NUMBER"', b"1e999")
    assert index_of(prepare_lines(raw)).prompt_tokens.tolist() == [-(-len(raw) // 4)]


def test_groups_are_bounded_and_reported_and_change_nothing(
    prepare_lines: Prepare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tokenizer: str
):
    lines = [line(f"id-{n}", prompt="x " * n) for n in range(1, 30)]
    whole = prepare_lines(*lines).index.read_bytes()
    monkeypatch.setattr(preparation, "GROUP_LINES_MAX", 4)
    monkeypatch.setattr("orchestrator.jsonl.lines.CHUNK_BYTES", 100)
    assert prepare_lines(*lines).index.read_bytes() == whole


def test_progress_grows_to_the_number_of_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preparation, "GROUP_LINES_MAX", 4)
    (tmp_path / "input.jsonl").write_bytes(b"bad\n" * 10)
    spec = PreparationSpec(tmp_path / "input.jsonl", tmp_path, LineLimits(100, 100), {})
    heard: list[int] = []
    prepare(spec, heard.append)
    assert heard == [4, 8, 10]


def test_what_goes_to_a_child_process_and_comes_back_can_be_pickled(prepare_lines: Prepare, tmp_path: Path):
    prepared = prepare_lines(line("a"), b"bad")
    spec = PreparationSpec(tmp_path, tmp_path, LineLimits(1, 1), {}, only_lines=[1])
    assert pickle.loads(pickle.dumps(prepared)) == prepared
    assert pickle.loads(pickle.dumps(spec)) == spec


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from([line("a"), line("b"), line("c", model="x"), b"{}", b"", b"\xff"]),
        ),
        max_size=8,
    ).map(b"\n".join)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_prepared_and_found_no_better_than_while_they_were_uploaded(
    prepare_lines: Prepare, data: bytes
):
    limits = LineLimits(lines_max=5, line_bytes_max=300)
    validator = FileValidator(limits)
    validator.feed(data)
    summary, prepared = validator.finish(), prepare_lines(data, limits=limits)
    assert prepared.lines == summary.lines == len(index_of(prepared))
    assert prepared.bad_lines >= summary.bad_lines
    assert prepared.wanted_lines == prepared.lines - prepared.bad_lines
