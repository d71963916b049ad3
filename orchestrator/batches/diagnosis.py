"""Everything that is wrong with one line that cannot run, by field, each with what to change."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from orchestrator.batches.problems import LineProblem, ProblemCode
from orchestrator.batches.request_line import (
    CHOICES_MAX,
    COUNT_MAX,
    CUSTOM_ID_CHARACTERS_MAX,
    MODEL_CHARACTERS_MAX,
    Choices,
    Count,
)
from orchestrator.jsonl.text import fault_of, kind_of, one_of, shown
from orchestrator.models.endpoints import ENDPOINTS


def diagnose(raw: bytes, line: int) -> list[LineProblem]:
    """At least one problem for every line that `request_line.decode` refuses. Never raises."""
    custom_id = custom_id_of(raw)
    whole_line = _problem_of_the_text(raw)
    if whole_line is not None:
        return [LineProblem(line, custom_id, *whole_line)]
    fields = _FIELDS(raw)
    custom_id = _printable(_value(fields.get("custom_id")))
    problems = [
        LineProblem(line, custom_id, code, message, param, f"$.{param}")
        for code, message, param in _problems_of_the_fields(fields)
    ]
    return problems or [LineProblem(line, custom_id, ProblemCode.INVALID_REQUEST, _REPEATED_KEY)]


def custom_id_of(head: bytes) -> str | None:
    """The custom_id of a line that cannot be read as a whole, where it is the line's first key."""
    found = _CUSTOM_ID_FIRST.match(head)
    try:
        return None if found is None else _printable(msgspec.json.decode(found[1], type=str))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _problem_of_the_text(raw: bytes) -> tuple[ProblemCode, str] | None:
    """Why `raw` is not one JSON object."""
    fault = fault_of(raw)
    if fault is not None:
        return ProblemCode(fault.code), fault.message
    kind = kind_of(raw)
    if kind == "an object":
        return None
    return (
        ProblemCode.INVALID_REQUEST,
        f"This line is {kind}, but a request is an object: write "
        '{"custom_id": …, "method": "POST", "url": …, "body": {…}}.',
    )


def _problems_of_the_fields(fields: dict[str, Raw]) -> Iterator[tuple[ProblemCode, str, str]]:
    """(code, message, param) for each field that is missing or wrong."""
    yield from _text_problem(
        fields, "custom_id", CUSTOM_ID_CHARACTERS_MAX, "Give each request an id of its own."
    )
    method, url = _value(fields.get("method")), _value(fields.get("url"))
    if method is None:
        yield _missing("method", 'Add "method": "POST".')
    elif method != "POST":
        message = f"Invalid value: {shown(method)}. Supported values are: 'POST'. Write \"POST\"."
        yield ProblemCode.INVALID_METHOD, message, "method"
    if url is None:
        yield _missing("url", f'Add "url": {one_of(ENDPOINTS)}.')
    elif url not in ENDPOINTS:
        message = f"The URL provided for this request is not supported: {shown(url)}."
        yield ProblemCode.INVALID_URL, f"{message} Change it to {one_of(ENDPOINTS)}.", "url"
    body = fields.get("body")
    if body is None or kind_of(body) == "null":
        yield _missing("body", 'Add "body": {"model": …} with the request itself.')
    elif kind_of(body) != "an object":
        yield _wrong_type("body", "an object", body, "Write the request itself, not its text.")
    else:
        yield from _problems_of_the_body(_FIELDS(body))


def _problems_of_the_body(body: dict[str, Raw]) -> Iterator[tuple[ProblemCode, str, str]]:
    if _value(body.get("model")) in (None, ""):
        message = "Model parameter is required. Set body.model to the id of a model."
        yield ProblemCode.INVALID_REQUEST, message, "body.model"
    else:
        yield from _text_problem(body, "model", MODEL_CHARACTERS_MAX, "", prefix="body.")
    if "stream" in body and kind_of(body["stream"]) not in ("false", "null"):
        message = "Streaming is not supported in the Batch API."
        advice = "Remove body.stream or set it to false."
        yield ProblemCode.STREAMING_UNSUPPORTED, f"{message} {advice}", "body.stream"
    if "priority" in body:
        message = "A line cannot choose its priority: that is the tier's. Remove body.priority."
        yield ProblemCode.UNSUPPORTED_PARAMETER, message, "body.priority"
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        yield from _number_problem(body, name, Count, f"from 0 to {COUNT_MAX}")
    yield from _number_problem(body, "n", Choices, f"from 1 to {CHOICES_MAX}")


def _text_problem(
    fields: dict[str, Raw], name: str, characters_max: int, advice: str, *, prefix: str = ""
) -> Iterator[tuple[ProblemCode, str, str]]:
    value, param = _value(fields.get(name)), prefix + name
    if value in (None, ""):
        yield _missing(param, advice)
    elif not isinstance(value, str):
        yield _wrong_type(param, "a string", fields[name], "Put it in quotes.")
    elif len(value) > characters_max:
        yield (
            ProblemCode.STRING_ABOVE_MAX_LENGTH,
            f"Invalid '{param}': string too long. Expected a string with maximum length "
            f"{characters_max}, but got a string with length {len(value)} instead. Shorten it.",
            param,
        )
    elif "\0" in value:
        message = f"Invalid '{param}': it holds the character U+0000. Remove that character."
        yield ProblemCode.INVALID_REQUEST, message, param


def _number_problem(
    body: dict[str, Raw], name: str, kind: Any, allowed: str
) -> Iterator[tuple[ProblemCode, str, str]]:
    if name not in body:
        return
    try:
        msgspec.json.decode(body[name], type=kind | None)
    except msgspec.DecodeError:
        found = shown(bytes(body[name]).decode())
        message = f"Invalid 'body.{name}': expected a whole number {allowed}, but got {found}."
        yield ProblemCode.INVALID_REQUEST, f"{message} Change or remove it.", f"body.{name}"


def _missing(param: str, advice: str) -> tuple[ProblemCode, str, str]:
    message = f"Missing required parameter: '{param}'. {advice}"
    return ProblemCode.MISSING_REQUIRED_PARAMETER, message, param


def _wrong_type(param: str, expected: str, found: Raw, advice: str) -> tuple[ProblemCode, str, str]:
    message = f"Invalid type for '{param}': expected {expected}, but got {kind_of(found)} instead."
    return ProblemCode.INVALID_TYPE, f"{message} {advice}", param


def _value(raw: Raw | None) -> str | int | float | bool | list[Raw] | dict[str, Raw] | None:
    """The value of a small field; where it is an array or an object, without what is inside."""
    try:
        return None if raw is None else msgspec.json.decode(raw, type=_SHALLOW)
    except msgspec.DecodeError:  # a number out of range: not a string, which is all that matters
        return 0


def _printable(value: object) -> str | None:
    """A custom_id that may be shown and stored, else None."""
    if not isinstance(value, str) or not 0 < len(value) <= CUSTOM_ID_CHARACTERS_MAX:
        return None
    return None if "\0" in value else value


_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_SHALLOW = str | int | float | bool | list[Raw] | dict[str, Raw] | None
_REPEATED_KEY = "A key is written twice on this line, once with a value that is not allowed: keep one."
_CUSTOM_ID_FIRST = re.compile(rb'\s*\{\s*"custom_id"\s*:\s*("(?:[^"\\]++|\\.)*+")', re.DOTALL)
