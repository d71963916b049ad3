"""What can be wrong with a line of a batch file, and the words for it.

Codes and the first sentence of a message are OpenAI's where OpenAI's are known; the rest of a
message says what to change.
"""

from enum import StrEnum

from msgspec import Struct


class ProblemCode(StrEnum):
    INVALID_JSON_LINE = "invalid_json_line"
    INVALID_UTF8 = "invalid_utf8"
    NESTED_TOO_DEEPLY = "nested_too_deeply"
    LINE_TOO_LONG = "line_too_long"
    MISSING_REQUIRED_PARAMETER = "missing_required_parameter"
    INVALID_TYPE = "invalid_type"
    STRING_ABOVE_MAX_LENGTH = "string_above_max_length"
    INVALID_METHOD = "invalid_method"
    INVALID_URL = "invalid_url"
    INVALID_REQUEST = "invalid_request"
    STREAMING_UNSUPPORTED = "streaming_unsupported"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    DUPLICATE_CUSTOM_ID = "duplicate_custom_id"
    TOO_MANY_MODELS = "too_many_models"
    TOO_MANY_REQUESTS = "too_many_requests"
    EMPTY_FILE = "empty_file"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_NOT_PERMITTED = "model_not_permitted"


class LineProblem(Struct, frozen=True):
    """One reason why one line cannot run. `line` counts from 1 and is None where the whole file is
    meant.

    `custom_id` is None where none could be read. `param` names the field as OpenAI does
    (`body.model`), `path` is its JSON path (`$.body.model`).
    """

    line: int | None
    custom_id: str | None
    code: ProblemCode
    message: str
    param: str | None = None
    path: str = "$"
