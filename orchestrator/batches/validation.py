"""Checks a batch file line by line while it streams in: what runs, what does not, and why.

`LineChecker` remembers what lines must agree on; `FileValidator` runs it over a stream and sums up.
Which models exist, and who may use them, is not known here: see `preparation.py`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.batches.custom_ids import CustomIds
from orchestrator.batches.diagnosis import custom_id_of, diagnose
from orchestrator.batches.problems import LineProblem, ProblemCode
from orchestrator.batches.request_line import RequestLine, decode
from orchestrator.jsonl.lines import Line, LineSplitter, OversizedLine
from orchestrator.jsonl.text import shown

__all__ = ["FileValidator", "LineChecker", "LineLimits", "LineProblem", "Summary", "empty_file"]

FIRST_PROBLEMS_MAX = 100  # kept in a summary; `on_problem` is told all of them
MODELS_MAX = 1_000  # different models in one file


@dataclass(frozen=True)
class LineLimits:
    """How many lines a file may have, and how many bytes a line, its ending not counted; and what to append
    to a refusal, about who may have more."""

    lines_max: int
    line_bytes_max: int
    for_more_lines: str = ""
    for_longer_lines: str = ""


class Summary(Struct, frozen=True):
    """What a file holds. `models` and `endpoints` count the lines that can run; `bad_lines` is how
    many cannot, and each of them has at least one problem until FIRST_PROBLEMS_MAX are listed."""

    lines: int
    bad_lines: int
    first_problems: tuple[LineProblem, ...]
    models: dict[str, int]
    endpoints: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a JSON column."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @staticmethod
    def from_json(plain: dict[str, Any]) -> "Summary":
        """The inverse of `to_json`. Raises msgspec.ValidationError."""
        return msgspec.convert(plain, Summary)


class LineChecker:
    """Numbers the lines of one file from 1 and checks each, by itself and against those before
    it."""

    def __init__(self, limits: LineLimits) -> None:
        self.limits = limits
        self.line = 0  # the number of the last line seen
        self._custom_ids = CustomIds(limits.lines_max)
        self._models: set[str] = set()

    def check(self, line: Line | OversizedLine) -> RequestLine | list[LineProblem]:
        """The request, or why it cannot run. Lines beyond `lines_max` share one problem: the first
        of them has it, the others have an empty list."""
        self.line += 1
        if self.line > self.limits.lines_max:
            return [self._too_many_requests()] if self.line == self.limits.lines_max + 1 else []
        if isinstance(line, OversizedLine):
            return [self._line_too_long(line)]
        request = decode(line.raw)
        if request is None:
            return diagnose(line.raw, self.line)
        earlier = self._custom_ids.earlier_line(request.custom_id, self.line)
        if earlier is not None:
            return [self._duplicate_custom_id(request, earlier)]
        model = request.body.model
        if model not in self._models:
            if len(self._models) == MODELS_MAX:
                return [self._too_many_models(request)]
            self._models.add(model)
        return request

    def skip(self) -> None:
        """Count a line without looking at it."""
        self.line += 1

    def _too_many_requests(self) -> LineProblem:
        most = f"{self.limits.lines_max:,}"
        message = (
            f"The file has more than {most} requests (batch_lines_max). Split it into files of at most "
            f"{most}.{self.limits.for_more_lines}"
        )
        return LineProblem(self.line, None, ProblemCode.TOO_MANY_REQUESTS, message)

    def _line_too_long(self, line: OversizedLine) -> LineProblem:
        message = (
            f"This line has {line.length:,} bytes, but at most {self.limits.line_bytes_max:,} are "
            f"allowed (line_bytes_max). Shorten the request.{self.limits.for_longer_lines}"
        )
        return LineProblem(self.line, custom_id_of(line.head), ProblemCode.LINE_TOO_LONG, message)

    def _duplicate_custom_id(self, request: RequestLine, earlier: int) -> LineProblem:
        return LineProblem(
            self.line,
            request.custom_id,
            ProblemCode.DUPLICATE_CUSTOM_ID,
            f"The custom_id {shown(request.custom_id)} is already used on line {earlier}. "
            "Give each request an id of its own.",
            "custom_id",
            "$.custom_id",
        )

    def _too_many_models(self, request: RequestLine) -> LineProblem:
        return LineProblem(
            self.line,
            request.custom_id,
            ProblemCode.TOO_MANY_MODELS,
            f"The file names more than {MODELS_MAX:,} models. Split it into files by model.",
            "body.model",
            "$.body.model",
        )


def empty_file() -> LineProblem:
    """The problem of a file without a line."""
    message = "The file has no requests. Write one request a line."
    return LineProblem(None, None, ProblemCode.EMPTY_FILE, message)


class FileValidator:
    """Push parser for a whole file: feed it chunks of any size, then finish once.

    Never raises on any bytes, and finds the same however they are cut into chunks. Memory is
    bounded by the limits, not by the file: one line, and 50 bytes for each of `lines_max`
    custom_ids at most. `on_problem` is told every problem, in line order.
    """

    def __init__(self, limits: LineLimits, on_problem: Callable[[LineProblem], None] | None = None) -> None:
        self._splitter = LineSplitter(limits.line_bytes_max)
        self._checker = LineChecker(limits)
        self._on_problem = on_problem
        self._first_problems: list[LineProblem] = []
        self._bad_lines = 0
        self._models: Counter[str] = Counter()
        self._endpoints: Counter[str] = Counter()

    def feed(self, chunk: bytes) -> None:
        """Check the lines that end in this chunk."""
        self._check(self._splitter.feed(chunk))

    def finish(self) -> Summary:
        """Check what is left, and sum up."""
        self._check(self._splitter.finish())
        if self._checker.line == 0:
            self._tell(empty_file())
        return Summary(
            self._checker.line,
            self._bad_lines,
            tuple(self._first_problems),
            dict(self._models),
            dict(self._endpoints),
        )

    def _check(self, lines: list[Line | OversizedLine]) -> None:
        for line in lines:
            checked = self._checker.check(line)
            if isinstance(checked, RequestLine):
                self._models[checked.body.model] += 1
                self._endpoints[checked.url] += 1
            else:
                self._bad_lines += 1
                for problem in checked:
                    self._tell(problem)

    def _tell(self, problem: LineProblem) -> None:
        if len(self._first_problems) < FIRST_PROBLEMS_MAX:
            self._first_problems.append(problem)
        if self._on_problem is not None:
            self._on_problem(problem)
