"""One line of a dataset: what is to be learnt from it, or everything that is wrong with it.

Three forms: a chat, `{"messages": […], "tools"?: […]}`; a pair, `{"prompt": …, "completion": …}`; and for
`dpo`, which takes nothing else, a preference:
`{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}`.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from orchestrator.datasets.messages import FaultList, checked_messages, checked_tools
from orchestrator.datasets.problems import ExampleCode, Fault
from orchestrator.jsonl.text import fault_of, kind_of, nested_too_deeply

PREFERENCE = "dpo"  # the one method that learns from preferences

_CHAT_FORM = '{"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]}'
_PREFERENCE_FORM = '{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}'
_PREFERRED = ("preferred_output", "preferred_completion")
_REJECTED = ("non_preferred_output", "non_preferred_completion")


@dataclass(frozen=True, slots=True)
class ChatExample:
    """A conversation as a chat template takes it; `learn` says of each message whether it is learnt."""

    messages: list[dict[str, Any]]
    learn: list[bool]
    tools: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class PairExample:
    """Plain text: the completion is learnt after the prompt, and then to stop."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class PreferenceExample:
    """The same conversation with a better and a worse answer at its end."""

    preferred: ChatExample
    rejected: ChatExample


Example = ChatExample | PairExample | PreferenceExample


def parse(raw: bytes, method: str) -> Example | list[Fault]:
    """The example on a line, for the method `supervised` or `dpo`; or its faults, at least one. Never
    raises, whatever the bytes."""
    try:
        value = None if nested_too_deeply(raw) else msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = None
    if not isinstance(value, dict):
        return [_no_object(raw)]
    faults = FaultList()
    example = _preference(value, faults) if method == PREFERENCE else _supervised(value, faults)
    if faults or example is None:
        return faults
    return example


def _no_object(raw: bytes) -> Fault:
    fault = fault_of(raw)
    if fault is not None:
        return Fault(ExampleCode(fault.code), fault.message)
    return Fault(
        ExampleCode.INVALID_FORMAT, f"This line is {kind_of(raw)}, but an example is an object: {_CHAT_FORM}."
    )


def _supervised(value: dict[str, Any], faults: FaultList) -> ChatExample | PairExample | None:
    if "messages" in value:
        return _chat(value, faults)
    if "prompt" in value or "completion" in value:
        return _pair(value, faults)
    if "input" in value or any(name in value for name in (*_PREFERRED, *_REJECTED)):
        faults.add(
            ExampleCode.INVALID_FORMAT,
            "$",
            "This is a preference, which the method 'dpo' learns from. Choose that method, or write "
            f"{_CHAT_FORM}.",
        )
        return None
    faults.missing("$.messages", f"An example is {_CHAT_FORM}.")
    return None


def _chat(value: dict[str, Any], faults: FaultList) -> ChatExample | None:
    tools = checked_tools(value, "$", faults)
    checked = checked_messages(value["messages"], "$.messages", faults)
    if checked is None or faults:
        return None
    messages, learn = checked
    if not any(message["role"] == "assistant" for message in messages):
        faults.add(
            ExampleCode.NO_ASSISTANT_MESSAGE,
            "$.messages",
            "This example has no assistant message, so there is nothing to learn. Add the answer.",
        )
    elif not any(learn):
        faults.add(
            ExampleCode.NOTHING_TO_LEARN,
            "$.messages",
            "Every assistant message of this example has weight 0, so there is nothing to learn. Give one of "
            "them weight 1, or remove the example.",
        )
    return ChatExample(messages, learn, tools)


def _pair(value: dict[str, Any], faults: FaultList) -> PairExample | None:
    for name in ("prompt", "completion"):
        if value.get(name) is None:
            faults.missing(f"$.{name}", 'A pair is {"prompt": …, "completion": …}.')
        elif not isinstance(value[name], str):
            faults.wrong_type(f"$.{name}", "a string", value[name])
    if faults:
        return None
    if not value["completion"]:
        faults.add(
            ExampleCode.NOTHING_TO_LEARN,
            "$.completion",
            "The completion is empty, so there is nothing to learn. Write the answer, or remove the example.",
        )
    return PairExample(value["prompt"], value["completion"])


def _preference(value: dict[str, Any], faults: FaultList) -> PreferenceExample | None:
    if "input" not in value and ("messages" in value or "prompt" in value):
        form = "a chat" if "messages" in value else "a prompt and its completion"
        faults.add(
            ExampleCode.INVALID_FORMAT,
            "$",
            f"This is {form}, which the method 'supervised' learns from. Choose that method, or write "
            f"{_PREFERENCE_FORM}.",
        )
        return None
    question = value.get("input")
    if question is None:
        faults.missing("$.input", f"A preference is {_PREFERENCE_FORM}.")
    elif not isinstance(question, dict):
        faults.wrong_type("$.input", "an object", question)
    elif question.get("messages") is None:
        faults.missing("$.input.messages", f"A preference is {_PREFERENCE_FORM}.")
    preferred = _answer(value, _PREFERRED, faults)
    rejected = _answer(value, _REJECTED, faults)
    if faults or not isinstance(question, dict) or preferred is None or rejected is None:
        return None
    tools = checked_tools(question, "$.input", faults)
    checked = checked_messages(question["messages"], "$.input.messages", faults, weights=False)
    if checked is None:
        return None
    if preferred == rejected:
        faults.add(
            ExampleCode.NOTHING_TO_LEARN,
            "$",
            "Both outputs are the same, so there is nothing to learn. Remove the example.",
        )
    messages, _ = checked
    unlearnt = [False] * len(messages)
    return PreferenceExample(
        ChatExample([*messages, preferred], [*unlearnt, True], tools),
        ChatExample([*messages, rejected], [*unlearnt, True], tools),
    )


def _answer(value: dict[str, Any], names: tuple[str, str], faults: FaultList) -> dict[str, Any] | None:
    """The one assistant message under either of two names."""
    given = [name for name in names if value.get(name) is not None]
    if len(given) != 1:
        if given:
            faults.add(
                ExampleCode.INVALID_FORMAT, f"$.{names[1]}", f"This is '{names[0]}' again: keep one of them."
            )
        else:
            faults.missing(f"$.{names[0]}", 'It is [{"role": "assistant", "content": …}].')
        return None
    path = f"$.{given[0]}"
    checked = checked_messages(value[given[0]], path, faults, weights=False)
    if checked is None:
        return None
    messages, _ = checked
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        faults.add(
            ExampleCode.INVALID_VALUE,
            path,
            f"Invalid value for '{given[0]}': expected exactly one message, of the assistant. "
            "What came before it belongs to input.messages.",
        )
        return None
    return messages[0]
