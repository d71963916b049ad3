import json
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.batches.request_line import CHOICES_MAX
from orchestrator.batches.validation import (
    FIRST_PROBLEMS_MAX,
    MODELS_MAX,
    FileValidator,
    LineLimits,
    LineProblem,
    Summary,
)
from orchestrator.jsonl.text import NESTING_MAX

LIMITS = LineLimits(lines_max=1_000, line_bytes_max=10_000)
CHAT = "/v1/chat/completions"


def line(custom_id: Any = "a", *, method: Any = "POST", url: Any = CHAT, **body: Any) -> bytes:
    """A good line, but for what the test changes."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **body}
    return json.dumps({"custom_id": custom_id, "method": method, "url": url, "body": body}).encode()


def without(key: str) -> bytes:
    fields = json.loads(line())
    del fields[key]
    return json.dumps(fields).encode()


def with_body(body: Any) -> bytes:
    return json.dumps({**json.loads(line()), "body": body}).encode()


def with_text(text: bytes) -> bytes:
    """A line whose message has `text` in it as it stands."""
    return line(messages=[{"role": "user", "content": "TEXT"}]).replace(b"TEXT", text)


def with_value(value: bytes) -> bytes:
    """A line with a field that the yard does not know, of the value `value` as it stands."""
    return line(logit_bias="VALUE").replace(b'"VALUE"', value)


def validate(*chunks: bytes, limits: LineLimits = LIMITS) -> Summary:
    validator = FileValidator(limits)
    for chunk in chunks:
        validator.feed(chunk)
    return validator.finish()


# name: (line, code, param, what its message tells the customer to do)
BAD_LINES: dict[str, tuple[bytes, str, str | None, str]] = {
    "truncated": (line()[:-10], "invalid_json_line", None, "ends too early"),
    "not JSON": (b"hello", "invalid_json_line", None, "with a JSON library"),
    "single quotes": (b"{'custom_id': 'a'}", "invalid_json_line", None, "JSON library"),
    "trailing comma": (line()[:-1] + b",}", "invalid_json_line", None, "JSON library"),
    "control character": (with_text(b"\x01"), "invalid_json_line", None, "JSON library"),
    "empty": (b"", "invalid_json_line", None, "remove it"),
    "only spaces": (b"  \t", "invalid_json_line", None, "remove it"),
    "byte order mark": (b"\xef\xbb\xbf" + line(), "invalid_json_line", None, "remove it"),
    "two documents": (line() + b" " + line("b"), "invalid_json_line", None, "of its own"),
    "NaN": (with_value(b"NaN"), "invalid_json_line", None, "write null or a number"),
    "Infinity": (with_value(b"-Infinity"), "invalid_json_line", None, "write null"),
    "lone surrogate": (with_text(rb"\ud800"), "invalid_json_line", None, "or drop it"),
    "lone low surrogate": (with_text(rb"\uDC00."), "invalid_json_line", None, "or drop it"),
    "not UTF-8": (line().replace(b'"a"', b'"\xe4"'), "invalid_utf8", None, "in UTF-8"),
    "not UTF-8 in the body": (with_text(b"\xff"), "invalid_utf8", None, "in UTF-8"),
    "not UTF-8 in an unknown key": (with_value(b'"\xff"'), "invalid_utf8", None, "in UTF-8"),
    "nested too deeply": (
        with_value(b"[" * 101 + b"]" * 101),
        "nested_too_deeply",
        None,
        "Flatten",
    ),
    "nested without end": (b'{"a":' + b"[" * 9_000, "nested_too_deeply", None, "Flatten"),
    "too long": (line(content="x" * 10_000), "line_too_long", None, "Shorten"),
    "an array": (b"[]", "invalid_request", None, '{"custom_id": '),
    "a number": (b"1e999", "invalid_request", None, '{"custom_id": '),
    "null": (b"null", "invalid_request", None, '{"custom_id": '),
    "no custom_id": (
        without("custom_id"),
        "missing_required_parameter",
        "custom_id",
        "Give each request an id",
    ),
    "empty custom_id": (
        line(""),
        "missing_required_parameter",
        "custom_id",
        "Give each request an id",
    ),
    "custom_id of a wrong type": (line(7), "invalid_type", "custom_id", "Put it in quotes"),
    "custom_id out of range": (
        line().replace(b'"a"', b"1e999"),
        "invalid_type",
        "custom_id",
        "Put it in quotes",
    ),
    "custom_id too long": (line("x" * 513), "string_above_max_length", "custom_id", "Shorten it"),
    "custom_id with NUL": (line("a\0"), "invalid_request", "custom_id", "Remove that character"),
    "no method": (
        without("method"),
        "missing_required_parameter",
        "method",
        'Add "method": "POST"',
    ),
    "method GET": (line(method="GET"), "invalid_method", "method", 'Write "POST"'),
    "no url": (without("url"), "missing_required_parameter", "url", 'Add "url"'),
    "unknown url": (line(url="/v1/moderations"), "invalid_url", "url", "Change it to"),
    "no body": (without("body"), "missing_required_parameter", "body", 'Add "body"'),
    "null body": (with_body(None), "missing_required_parameter", "body", 'Add "body"'),
    "body as text": (with_body("{}"), "invalid_type", "body", "not its text"),
    "no model": (with_body({}), "invalid_request", "body.model", "Set body.model"),
    "empty model": (line(model=""), "invalid_request", "body.model", "Set body.model"),
    "null model": (line(model=None), "invalid_request", "body.model", "Set body.model"),
    "model of a wrong type": (line(model=["m"]), "invalid_type", "body.model", "Put it in quotes"),
    "model too long": (
        line(model="m" * 257),
        "string_above_max_length",
        "body.model",
        "Shorten it",
    ),
    "model with NUL": (line(model="m\0"), "invalid_request", "body.model", "Remove that character"),
    "its own priority": (line(priority=-1), "unsupported_parameter", "body.priority", "the tier's"),
    "no priority": (line(priority=None), "unsupported_parameter", "body.priority", "Remove body.priority"),
    "streaming": (line(stream=True), "streaming_unsupported", "body.stream", "set it to false"),
    "streaming in words": (
        line(stream="yes"),
        "streaming_unsupported",
        "body.stream",
        "set it to false",
    ),
    "max_tokens in words": (
        line(max_tokens="many"),
        "invalid_request",
        "body.max_tokens",
        "Change or remove it",
    ),
    "max_completion_tokens negative": (
        line(max_completion_tokens=-1),
        "invalid_request",
        "body.max_completion_tokens",
        "Change or remove it",
    ),
    "max_output_tokens not whole": (
        line(max_output_tokens=1.5),
        "invalid_request",
        "body.max_output_tokens",
        "Change or remove it",
    ),
    "too many choices": (
        line(n=CHOICES_MAX + 1),
        "invalid_request",
        "body.n",
        "Change or remove it",
    ),
    "a key twice": (
        line().replace(b'{"custom_id": ', b'{"custom_id": 7, "custom_id": ', 1),
        "invalid_request",
        None,
        "keep one",
    ),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_told_with_its_number_code_place_and_remedy(name: str):
    bad, code, param, remedy = BAD_LINES[name]
    path = f"$.{param}" if param else "$"
    summary = validate(b"\n".join([line("first"), bad, line("last")]))
    assert (summary.lines, summary.bad_lines) == (3, 1)
    [problem] = summary.first_problems
    assert (problem.line, problem.code, problem.param, problem.path) == (2, code, param, path)
    assert remedy in problem.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("truncated", "This line is not parseable as valid JSON."),
        ("no method", "Missing required parameter: 'method'."),
        ("method GET", "Invalid value: 'GET'. Supported values are: 'POST'"),
        ("no model", "Model parameter is required."),
        ("streaming", "Streaming is not supported in the Batch API."),
    ],
)
def test_a_message_begins_with_the_words_that_clients_know(name: str, message: str):
    [problem] = validate(BAD_LINES[name][0]).first_problems
    assert problem.message.startswith(message)


@pytest.mark.parametrize(
    ("bad", "custom_id"),
    [
        (line("kept", stream=True), "kept"),
        (line("kept")[:-10], "kept"),
        (line("kept", content="x" * 10_000), "kept"),
        (with_text(b"\xff"), "a"),
        (line("x" * 513), None),
        (line("a\0"), None),
        (b"[]", None),
    ],
)
def test_the_custom_id_is_told_where_it_can_be_read(bad: bytes, custom_id: str | None):
    [problem] = validate(bad).first_problems
    assert problem.custom_id == custom_id


def test_everything_wrong_with_a_line_is_told_at_once():
    fields = {"method": "GET", "url": "/v2", "body": {"stream": True, "max_tokens": -1}}
    summary = validate(json.dumps(fields).encode())
    assert summary.bad_lines == 1
    assert [problem.param for problem in summary.first_problems] == [
        "custom_id",
        "method",
        "url",
        "body.model",
        "body.stream",
        "body.max_tokens",
    ]


@pytest.mark.parametrize(
    "good",
    {
        "CRLF": line() + b"\r\n",
        "no newline at the end": line(),
        "byte order mark at the start": b"\xef\xbb\xbf" + line(),
        "unknown keys": json.dumps({**json.loads(line()), "extra": [1]}).encode(),
        "stream false": line(stream=False),
        "nulls": line(stream=None, max_tokens=None, n=None),
        "surrogate pair": with_text(rb"\ud83d\ude00"),
        "escaped backslash before u": with_text(rb"\\ud800"),
        "UTF-8": with_text("ä€😀".encode()),
        "huge numbers": with_value(b"1" * 500),
        "nested as far as allowed": with_value(b"[" * (NESTING_MAX - 2) + b"]" * (NESTING_MAX - 2)),
        "brackets in a string": with_text(b"[" * 500),
        "many shallow brackets": with_value(b"[" + b"[]," * 500 + b"[]]"),
        "longest custom_id": line("x" * 512),
        "completions": line(url="/v1/completions"),
        "embeddings": line(url="/v1/embeddings"),
        "responses": line(url="/v1/responses"),
    }.items(),
    ids=lambda case: case[0],
)
def test_what_is_unusual_but_right_passes(good: tuple[str, bytes]):
    summary = validate(good[1])
    assert summary.first_problems == ()
    assert (summary.lines, summary.bad_lines) == (1, 0)


def test_a_repeated_custom_id_is_told_with_the_line_that_had_it_first():
    summary = validate(b"\n".join([line("a"), line("b"), line("a")]))
    [problem] = summary.first_problems
    assert (problem.line, problem.custom_id, problem.code) == (3, "a", "duplicate_custom_id")
    assert (problem.param, problem.path) == ("custom_id", "$.custom_id")
    assert "already used on line 1" in problem.message
    assert "Give each request an id of its own" in problem.message


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_a_problem_of_the_whole_file(data: bytes):
    summary = validate(data)
    [problem] = summary.first_problems
    assert (problem.line, problem.code, problem.path) == (None, "empty_file", "$")
    assert "Write one request a line" in problem.message
    assert (summary.lines, summary.bad_lines) == (0, 0)


def test_lines_beyond_the_bound_are_counted_and_told_once():
    file = b"\n".join(line(f"id-{n}") for n in range(10))
    summary = validate(file, limits=LineLimits(lines_max=7, line_bytes_max=10_000))
    [problem] = summary.first_problems
    assert (problem.line, problem.code, problem.param) == (8, "too_many_requests", None)
    assert "Split it into files of at most 7" in problem.message
    assert (summary.lines, summary.bad_lines, summary.models) == (10, 3, {"m": 7})


def test_a_file_may_not_name_models_without_end():
    limits = LineLimits(lines_max=MODELS_MAX + 5, line_bytes_max=10_000)
    file = b"\n".join(line(f"id-{n}", model=f"m{n}") for n in range(MODELS_MAX + 1))
    summary = validate(file, limits=limits)
    [problem] = summary.first_problems
    assert (problem.line, problem.code) == (MODELS_MAX + 1, "too_many_models")
    assert (problem.param, problem.path) == ("body.model", "$.body.model")
    assert "Split it into files by model" in problem.message
    assert len(summary.models) == MODELS_MAX


def test_models_and_endpoints_are_counted_over_the_lines_that_can_run():
    lines = [
        line("a", model="x"),
        line("b", model="y", url="/v1/completions"),
        line("c", model="x"),
        line("d", model="z", stream=True),
    ]
    summary = validate(b"\n".join(lines))
    assert summary.models == {"x": 2, "y": 1}
    assert summary.endpoints == {CHAT: 2, "/v1/completions": 1}


def test_a_summary_keeps_the_first_problems_and_the_listener_hears_all():
    heard: list[LineProblem] = []
    validator = FileValidator(LIMITS, heard.append)
    validator.feed(b"bad\n" * (FIRST_PROBLEMS_MAX + 50))
    summary = validator.finish()
    assert summary.bad_lines == len(heard) == FIRST_PROBLEMS_MAX + 50
    assert list(summary.first_problems) == heard[:FIRST_PROBLEMS_MAX]


def test_a_summary_survives_a_json_column():
    summary = validate(b"\n".join([line("a"), line("a"), b"bad", line("b", model="ä")]))
    assert Summary.from_json(json.loads(json.dumps(summary.to_json()))) == summary


def test_an_endless_line_takes_no_more_memory_than_the_bound():
    limits = LineLimits(lines_max=10, line_bytes_max=1 << 20)
    validator = FileValidator(limits)
    chunk = b"x" * 65_536
    tracemalloc.start()
    try:
        for _ in range(1_000):
            validator.feed(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
    [problem] = validator.finish().first_problems
    assert "65,536,000 bytes, but at most 1,048,576" in problem.message


PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([bad for bad, *_ in BAD_LINES.values() if len(bad) < 1_000]),
    st.sampled_from([line("a"), line("b"), b"\n", b"\n", b"\r\n", b"{", b'"', b"\\", b"\xef\xbb\xbf"]),
)


@given(st.lists(PIECES, max_size=12).map(b"".join), st.lists(st.integers(0, 2_000), max_size=5))
@example(b'{"custom_id":"\\ud800"}', [])
def test_any_bytes_in_any_chunks_give_the_same_answer(data: bytes, cuts: list[int]):
    limits = LineLimits(lines_max=8, line_bytes_max=600)
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    chunks = [data[a:b] for a, b in pairwise(edges)]
    summary = validate(data, limits=limits)
    assert validate(*chunks, limits=limits) == summary
    told = {problem.line for problem in summary.first_problems} - {None}
    assert len(told) == summary.bad_lines - max(0, summary.lines - limits.lines_max - 1)
    assert sum(summary.models.values()) == summary.lines - summary.bad_lines
    assert "\\u0000" not in json.dumps(summary.to_json())  # which Postgres would refuse
