"""Whether a line is JSON that can be read, and in words why not. What it must say is not known here."""

import re
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np

NESTING_MAX = 100  # levels; the parsers behind us give up at 200 or more
SHOWN_CHARACTERS = 80  # of a value quoted in a message


class TextFault(StrEnum):
    INVALID_JSON_LINE = "invalid_json_line"
    INVALID_UTF8 = "invalid_utf8"
    NESTED_TOO_DEEPLY = "nested_too_deeply"


class Fault(NamedTuple):
    """Why a line is no JSON document, and what to change."""

    code: TextFault
    message: str


def fault_of(raw: bytes) -> Fault | None:
    """What keeps `raw` from being read as one JSON document; None where nothing does. Never raises."""
    if not raw.strip():
        return Fault(TextFault.INVALID_JSON_LINE, f"{_NOT_JSON} It is empty: remove it.")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return Fault(
            TextFault.INVALID_UTF8,
            f"This line is not UTF-8: byte {error.start} is 0x{raw[error.start]:02x}. "
            "Save the file in UTF-8.",
        )
    if nested_too_deeply(raw):
        return Fault(
            TextFault.NESTED_TOO_DEEPLY,
            f"This line is nested beyond {NESTING_MAX} levels. Flatten its arrays and objects.",
        )
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        return Fault(TextFault.INVALID_JSON_LINE, f"{_NOT_JSON} {_syntax_advice(raw, str(error))}")
    return None


def nested_too_deeply(raw: bytes) -> bool:
    """Whether arrays and objects are nested beyond NESTING_MAX, in linear time and without recursion."""
    if raw.count(b"[") + raw.count(b"{") <= NESTING_MAX:
        return False
    brackets = _STRING.sub(b"", raw).translate(None, _NOT_BRACKETS)
    depths = _STEPS[np.frombuffer(brackets, dtype=np.uint8)].cumsum(dtype=np.int64)
    return bool((depths > NESTING_MAX).any())


def kind_of(raw: bytes | msgspec.Raw) -> str:
    """The JSON type of a document, as a message says it."""
    return _KINDS.get(bytes(raw).lstrip()[:1], "a number")


def shown(value: object) -> str:
    """`value` as a message quotes it: printable whatever it holds, and short."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def one_of(values: tuple[str, ...]) -> str:
    """Allowed values in the order of their importance: `'a', 'b' or 'c'`."""
    quoted = [repr(value) for value in values]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def _syntax_advice(raw: bytes, error: str) -> str:
    """What to change about bad syntax; `error` is msgspec's, which ends with the byte."""
    if raw.lstrip().startswith(b"\xef\xbb\xbf"):
        return "It begins with a byte order mark, which only the file may: remove it."
    if _LONE_SURROGATE.search(raw.replace(rb"\\", b"")):
        return "It holds half of a surrogate pair: write the character whole or drop it."
    if "trailing characters" in error:
        return f"It holds more than one document: put each on a line of its own. {error}."
    if _NOT_A_NUMBER.search(raw):
        return f"NaN and Infinity are no JSON numbers: write null or a number. {error}."
    if "truncated" in error:
        return "It ends too early: write it on one line, with \\n for line breaks in strings."
    return f"{error}: write each line with a JSON library."


_NOT_JSON = "This line is not parseable as valid JSON."
_KINDS = {
    b"{": "an object",
    b"[": "an array",
    b'"': "a string",
    b"t": "true",
    b"f": "false",
    b"n": "null",
}
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
_NOT_A_NUMBER = re.compile(rb"\b(?:NaN|Infinity)\b")
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]", re.DOTALL
)
