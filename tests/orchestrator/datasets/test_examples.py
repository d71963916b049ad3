import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.datasets.examples import ChatExample, PairExample, PreferenceExample, parse
from orchestrator.datasets.problems import DatasetFile, ExampleProblem

USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "hello"}
WORSE = {"role": "assistant", "content": "go away"}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"at": "Rome"}'}}


def read(example: Any, method: str = "supervised") -> Any:
    return parse(json.dumps(example).encode(), method)


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def preference(**changes: Any) -> dict[str, Any]:
    return {
        "input": {"messages": [USER]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [WORSE],
        **changes,
    }


def test_every_answer_of_a_chat_is_learnt_unless_its_weight_is_0():
    example = read(chat(USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}, USER, ANSWER))
    assert example == ChatExample(
        messages=[USER, ANSWER, USER, ANSWER, USER, ANSWER], learn=[False, False, False, True, False, True]
    )


def test_text_parts_are_joined_as_engines_join_them():
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert read(chat({"role": "user", "content": parts}, ANSWER)).messages[0]["content"] == "one\ntwo"


def test_a_tool_call_needs_no_text_and_its_arguments_become_an_object():
    example = read(chat(USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, tools=[WEATHER]))
    (call,) = example.messages[1]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": {"at": "Rome"}}
    assert (example.messages[1]["content"], example.tools) == ("", [WEATHER])


def test_the_older_form_of_functions_is_read_too():
    older = {"role": "assistant", "content": None, "function_call": CALL["function"]}
    example = read(chat(USER, older, functions=[WEATHER["function"]]))
    assert example.tools == [WEATHER]
    assert example.messages[1]["tool_calls"][0]["function"]["arguments"] == {"at": "Rome"}


def test_a_pair_is_plain_text():
    assert read({"prompt": "2 + 2 =", "completion": " 4"}) == PairExample("2 + 2 =", " 4")


@pytest.mark.parametrize(
    "spelling",
    [
        ("preferred_output", "non_preferred_output"),
        ("preferred_completion", "non_preferred_completion"),
    ],
)
def test_a_preference_learns_the_last_message_of_two_conversations(spelling: tuple[str, str]):
    value = {"input": {"messages": [USER], "tools": [WEATHER]}, spelling[0]: [ANSWER], spelling[1]: [WORSE]}
    assert read(value, "dpo") == PreferenceExample(
        preferred=ChatExample([USER, ANSWER], [False, True], [WEATHER]),
        rejected=ChatExample([USER, WORSE], [False, True], [WEATHER]),
    )


def test_keys_beside_an_example_and_empty_keys_of_pasted_answers_do_not_matter():
    assert isinstance(read(chat(USER, {**ANSWER, "refusal": None, "annotations": []}, id=7)), ChatExample)


BAD: list[tuple[Any, str, str, str, str]] = [
    # example, code, path, what the message must say, method
    ([1], "invalid_format", "$", "an array, but an example is an object", "supervised"),
    ({}, "missing_required_parameter", "$.messages", "An example is", "supervised"),
    ({"messages": []}, "invalid_value", "$.messages", "is empty", "supervised"),
    ({"messages": "hi"}, "invalid_type", "$.messages", "but got a string", "supervised"),
    (chat(USER), "no_assistant_message", "$.messages", "Add the answer", "supervised"),
    (chat(USER, {**ANSWER, "weight": 0}), "nothing_to_learn", "$.messages", "weight 1", "supervised"),
    (chat(USER, {**ANSWER, "content": ""}), "nothing_to_learn", "$.messages[1].content", "", "supervised"),
    (chat("hi", ANSWER), "invalid_type", "$.messages[0]", "expected an object", "supervised"),
    (chat({"content": "hi"}, ANSWER), "missing_required_parameter", "$.messages[0].role", "", "supervised"),
    (
        chat({"role": "critic", "content": "hi"}, ANSWER),
        *("invalid_value", "$.messages[0].role", "'system', 'developer', 'user'", "supervised"),
    ),
    (chat(USER, {**ANSWER, "weight": 2}), "invalid_value", "$.messages[1].weight", "0 and 1", "supervised"),
    (chat(USER, {**ANSWER, "weight": True}), "invalid_value", "$.messages[1].weight", "0", "supervised"),
    (chat({**USER, "weight": 1}, ANSWER), "invalid_value", "$.messages[0].weight", "assistant", "supervised"),
    (chat(USER, {**ANSWER, "wieght": 0}), "unknown_parameter", "$.messages[1].wieght", "", "supervised"),
    (chat({**USER, "name": 1}, ANSWER), "invalid_type", "$.messages[0].name", "a string", "supervised"),
    (chat({**USER, "content": 1}, ANSWER), "invalid_type", "$.messages[0].content", "number", "supervised"),
    (
        chat({**USER, "content": [{"type": "image_url"}]}, ANSWER),
        *("invalid_value", "$.messages[0].content[0]", "Only text is learnt", "supervised"),
    ),
    (chat({"role": "user"}, ANSWER), "missing_required_parameter", "$.messages[0].content", "", "supervised"),
    (
        chat(USER, {"role": "assistant", "tool_calls": [{"function": {}}]}),
        *("invalid_value", "$.messages[1].tool_calls[0]", "expected", "supervised"),
    ),
    (
        chat(
            USER,
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
        ),
        "invalid_value",
        "$.messages[1].tool_calls[0].function.arguments",
        "JSON object",
        "supervised",
    ),
    (chat(USER, ANSWER, tools=[{}]), "invalid_value", "$.tools[0]", "function", "supervised"),
    (chat(USER, ANSWER, tools={}), "invalid_type", "$.tools", "an array", "supervised"),
    (chat(USER, ANSWER, parallel_tool_calls=1), "invalid_type", "$.parallel_tool_calls", "", "supervised"),
    ({"prompt": "a"}, "missing_required_parameter", "$.completion", "A pair is", "supervised"),
    ({"prompt": 1, "completion": "b"}, "invalid_type", "$.prompt", "a string", "supervised"),
    ({"prompt": "a", "completion": ""}, "nothing_to_learn", "$.completion", "empty", "supervised"),
    (preference(), "invalid_format", "$", "'dpo' learns from", "supervised"),
    (chat(USER, ANSWER), "invalid_format", "$", "'supervised' learns from", "dpo"),
    (preference(input=None), "missing_required_parameter", "$.input", "A preference is", "dpo"),
    (preference(input={}), "missing_required_parameter", "$.input.messages", "", "dpo"),
    (preference(preferred_output=None), "missing_required_parameter", "$.preferred_output", "", "dpo"),
    (preference(preferred_output=[USER]), "invalid_value", "$.preferred_output", "exactly one", "dpo"),
    (preference(preferred_output=[ANSWER, ANSWER]), "invalid_value", "$.preferred_output", "one", "dpo"),
    (preference(preferred_completion=[WORSE]), "invalid_format", "$.preferred_completion", "keep one", "dpo"),
    (preference(non_preferred_output=[ANSWER]), "nothing_to_learn", "$", "the same", "dpo"),
    (
        preference(input={"messages": [USER, {**ANSWER, "weight": 0}]}),
        *("invalid_value", "$.input.messages[1].weight", "two outputs alone", "dpo"),
    ),
]


@pytest.mark.parametrize(("example", "code", "path", "words", "method"), BAD)
def test_a_bad_example_says_where_and_what_to_change(
    example: Any, code: str, path: str, words: str, method: str
):
    (fault,) = read(example, method)
    assert (fault.code, fault.path) == (code, path)
    assert words in fault.message


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        (b"", "invalid_json_line", "remove it"),
        (b'{"messages": [', "invalid_json_line", "ends too early"),
        (b'{"prompt": NaN, "completion": "b"}', "invalid_json_line", "no JSON numbers"),
        (b'{"prompt": "\xff", "completion": "b"}', "invalid_utf8", "byte 12 is 0xff"),
        (b'\xef\xbb\xbf{"prompt": "a", "completion": "b"}', "invalid_json_line", "byte order mark"),
        (b'{"a":' * 200, "nested_too_deeply", "100 levels"),
    ],
)
def test_a_line_that_is_no_json_is_one_problem(raw: bytes, code: str, words: str):
    (fault,) = parse(raw, "supervised")
    assert (fault.code, fault.path) == (code, "$")
    assert words in fault.message


def test_all_that_is_wrong_with_an_example_is_found_at_once():
    faults = read(chat({"role": "critic", "content": 1}, {**ANSWER, "weight": 3}, tools=1))
    assert [fault.path for fault in faults] == [
        "$.tools",
        "$.messages[0].role",
        "$.messages[0].content",
        "$.messages[1].weight",
    ]


def test_a_problem_names_its_field_as_openai_does():
    (fault,) = read(chat(USER, {**ANSWER, "weight": 2}))
    problem = ExampleProblem.of(DatasetFile.TRAINING, 7, fault)
    assert (problem.line, problem.param, problem.path) == (7, "messages[1].weight", "$.messages[1].weight")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["user", "assistant", "text", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "role",
                    "content",
                    "weight",
                    "tools",
                    "tool_calls",
                    "function",
                    "input",
                    "prompt",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    JSON | st.builds(lambda inner: {"messages": [inner, ANSWER]}, JSON),
    st.sampled_from(["supervised", "dpo"]),
)
def test_anything_is_an_example_or_has_faults(value: Any, method: str):
    assert read(value, method)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_example_or_have_faults(raw: bytes):
    assert parse(raw, "supervised")
