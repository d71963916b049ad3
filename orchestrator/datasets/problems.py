"""What can be wrong with a line of a dataset, or with the whole file.

Codes and the first sentence of a message are OpenAI's where OpenAI's are known; the rest says what to change.
"""

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class DatasetFile(StrEnum):
    """Which of a job's two files, as its parameter is called."""

    TRAINING = "training_file"
    VALIDATION = "validation_file"


class ExampleCode(StrEnum):
    INVALID_JSON_LINE = "invalid_json_line"
    INVALID_UTF8 = "invalid_utf8"
    NESTED_TOO_DEEPLY = "nested_too_deeply"
    LINE_TOO_LONG = "line_too_long"
    INVALID_FORMAT = "invalid_format"  # no example, or one for another method
    MISSING_REQUIRED_PARAMETER = "missing_required_parameter"
    UNKNOWN_PARAMETER = "unknown_parameter"
    INVALID_TYPE = "invalid_type"
    INVALID_VALUE = "invalid_value"
    NO_ASSISTANT_MESSAGE = "no_assistant_message"
    NOTHING_TO_LEARN = "nothing_to_learn"
    TEMPLATE_REFUSED = "template_refused"
    TEMPLATE_REWRITES_HISTORY = "template_rewrites_history"
    EMPTY_FILE = "empty_file"
    INVALID_N_EXAMPLES = "invalid_n_examples"


class Fault(NamedTuple):
    """One reason why an example cannot be learnt from. `path` is the JSON path of what is wrong."""

    code: ExampleCode
    message: str
    path: str = "$"


class ExampleProblem(Struct, frozen=True):
    """A fault and where it is. `line` counts from 1 and is None where the whole file is meant. `param` names
    the field as OpenAI does (`messages[2].weight`), `path` is its JSON path (`$.messages[2].weight`)."""

    file: DatasetFile
    line: int | None
    code: ExampleCode
    message: str
    param: str | None = None
    path: str = "$"

    @staticmethod
    def of(file: DatasetFile, line: int | None, fault: Fault) -> "ExampleProblem":
        """That fault, on that line."""
        param = fault.path.removeprefix("$").removeprefix(".") or None
        return ExampleProblem(file, line, fault.code, fault.message, param, fault.path)
