"""The messages and tools of an example, checked field by field, and as a chat template takes them.

What engines do to a request's messages before the template sees them is done here too: the arguments of tool
calls become objects, and text parts one text. What is learnt is then what will be asked.
"""

from typing import Any

import msgspec

from orchestrator.datasets.problems import ExampleCode, Fault
from orchestrator.jsonl.text import kind_of, one_of, shown

ROLES = ("system", "developer", "user", "assistant", "tool")
MESSAGE_KEYS = (
    "role",
    "content",
    "name",
    "weight",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "reasoning_content",
)
_TEXT_KEYS = ("name", "tool_call_id", "reasoning_content")
_ASSISTANT_KEYS = ("weight", "tool_calls", "function_call", "reasoning_content")

Message = dict[str, Any]


class FaultList(list[Fault]):
    """The faults of one example, as they are found."""

    def add(self, code: ExampleCode, path: str, message: str) -> None:
        """One more."""
        self.append(Fault(code, message, path))

    def missing(self, path: str, advice: str) -> None:
        """A field that must be there."""
        message = f"Missing required parameter: '{path[2:]}'. {advice}"
        self.add(ExampleCode.MISSING_REQUIRED_PARAMETER, path, message)

    def wrong_type(self, path: str, expected: str, found: object) -> None:
        """A field of another JSON type."""
        kind = kind_of(msgspec.json.encode(found))
        message = f"Invalid type for '{path[2:]}': expected {expected}, but got {kind} instead."
        self.add(ExampleCode.INVALID_TYPE, path, message)


def checked_messages(
    value: Any, path: str, faults: FaultList, *, weights: bool = True
) -> tuple[list[Message], list[bool]] | None:
    """The messages as a template takes them, and whether each is learnt: those of the assistant whose weight
    is not 0. None where something is wrong. Without `weights` no message may have one."""
    if not isinstance(value, list):
        faults.wrong_type(path, "an array of messages", value)
        return None
    if not value:
        faults.add(ExampleCode.INVALID_VALUE, path, f"'{path[2:]}' is empty. Write at least one message.")
        return None
    before = len(faults)
    messages, learn = [], []
    for number, given in enumerate(value):
        where = f"{path}[{number}]"
        if not isinstance(given, dict):
            faults.wrong_type(where, "an object", given)
            continue
        messages.append(_message(given, where, faults))
        learn.append(_learnt(given, where, faults, weights=weights))
    return (messages, learn) if len(faults) == before else None


def checked_tools(value: dict[str, Any], path: str, faults: FaultList) -> list[dict[str, Any]] | None:
    """The tools that an example offers, its `functions` (their older form) among them; None: it has none."""
    parallel = value.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        faults.wrong_type(f"{path}.parallel_tool_calls", "true or false", parallel)
    tools = []
    for name in ("tools", "functions"):
        given = value.get(name)
        if given is None:
            continue
        if not isinstance(given, list):
            faults.wrong_type(f"{path}.{name}", "an array", given)
            continue
        for number, tool in enumerate(given):
            whole = tool if name == "tools" else {"type": "function", "function": tool}
            where = f"{path}.{name}[{number}]"
            if isinstance(whole, dict) and _is_function(whole.get("function")):
                tools.append(whole)
            else:
                form = '{"type": "function", "function": {"name": …}}' if name == "tools" else '{"name": …}'
                faults.add(
                    ExampleCode.INVALID_VALUE, where, f"Invalid value for '{where[2:]}': expected {form}."
                )
    return tools or None


def _is_function(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and bool(value["name"])


def _message(given: Message, path: str, faults: FaultList) -> Message:
    role = given.get("role")
    if role is None:
        faults.missing(f"{path}.role", f"Use {one_of(ROLES)}.")
    elif role not in ROLES:
        why = f"Invalid value: {shown(role)}. Supported values are: {one_of(ROLES)}."
        faults.add(ExampleCode.INVALID_VALUE, f"{path}.role", why)
    for key, value in given.items():
        _check_key(role, key, value, path, faults)
    message: Message = {key: given[key] for key in ("role", *_TEXT_KEYS) if given.get(key) is not None}
    calls = _tool_calls(given, path, faults)
    if calls:
        message["tool_calls"] = calls
    message["content"] = _content(given, path, faults, optional=bool(calls))
    return message


def _check_key(role: Any, key: str, value: Any, path: str, faults: FaultList) -> None:
    where = f"{path}.{key}"
    if key not in MESSAGE_KEYS:
        if value in (None, [], {}):
            return  # answers of the API, pasted as they came, have such keys
        # A misspelt `weight` would be learnt from in silence.
        message = f"Unknown parameter: '{where[2:]}'. A message has {', '.join(MESSAGE_KEYS)}. Remove it."
        faults.add(ExampleCode.UNKNOWN_PARAMETER, where, message)
    elif value is None:
        return
    elif key in _ASSISTANT_KEYS and role in ROLES and role != "assistant":
        message = f"Only assistant messages have '{key}', but this one is of role '{role}'. Remove it."
        faults.add(ExampleCode.INVALID_VALUE, where, message)
    elif key in _TEXT_KEYS and not isinstance(value, str):
        faults.wrong_type(where, "a string", value)


def _learnt(given: Message, path: str, faults: FaultList, *, weights: bool) -> bool:
    weight = given.get("weight")
    if weight is not None and not weights:
        faults.add(
            ExampleCode.INVALID_VALUE,
            f"{path}.weight",
            "A preference is learnt from its two outputs alone, so its messages have no weight. Remove it.",
        )
    elif weight is not None and (type(weight) is not int or weight not in (0, 1)):
        message = f"Invalid value: {shown(weight)}. Supported values are: 0 and 1."
        faults.add(ExampleCode.INVALID_VALUE, f"{path}.weight", message)
    return given.get("role") == "assistant" and weight != 0


def _content(given: Message, path: str, faults: FaultList, *, optional: bool) -> str:
    """The text of a message, its parts joined by newlines as engines join them."""
    content, where = given.get("content"), f"{path}.content"
    if content is None:
        if not optional:
            faults.missing(where, "Write the message's text.")
        return ""
    if isinstance(content, list):
        texts = [_part(part, f"{where}[{number}]", faults) for number, part in enumerate(content)]
        content = "\n".join(texts)
    elif not isinstance(content, str):
        faults.wrong_type(where, "a string or an array of text parts", content)
        return ""
    if not content and not optional and given.get("role") == "assistant" and given.get("weight") != 0:
        faults.add(
            ExampleCode.NOTHING_TO_LEARN,
            where,
            "This answer is empty, so there is nothing to learn. Write it, or give the message weight 0.",
        )
    return content


def _part(part: Any, path: str, faults: FaultList) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        text: str = part["text"]
        return text
    found = part.get("type") if isinstance(part, dict) else part
    message = f'Invalid value: {shown(found)}. Only text is learnt here: {{"type": "text", "text": …}}.'
    faults.add(ExampleCode.INVALID_VALUE, path, message)
    return ""


def _tool_calls(given: Message, path: str, faults: FaultList) -> list[dict[str, Any]]:
    """The calls of an assistant message, its `function_call` (the older form of one) among them."""
    calls = given.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        faults.wrong_type(f"{path}.tool_calls", "an array", calls)
        return []
    wanted = [(call, f"{path}.tool_calls[{number}]") for number, call in enumerate(calls or [])]
    if given.get("function_call") is not None:
        wanted.append(({"type": "function", "function": given["function_call"]}, f"{path}.function_call"))
    return [_tool_call(call, where, faults) for call, where in wanted]


def _tool_call(call: Any, path: str, faults: FaultList) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not _is_function(function):
        form = '{"id": …, "type": "function", "function": {"name": …, "arguments": "{…}"}}'
        faults.add(ExampleCode.INVALID_VALUE, path, f"Invalid value for '{path[2:]}': expected {form}.")
        return {}
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except msgspec.DecodeError:
            arguments = None
    if not isinstance(arguments, dict):
        where = f"{path}.function.arguments" if "tool_calls" in path else f"{path}.arguments"
        message = f"Invalid value for '{where[2:]}': expected the text of one JSON object."
        faults.add(ExampleCode.INVALID_VALUE, where, message)
    return {**call, "function": {**function, "arguments": arguments}}
