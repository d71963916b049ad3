"""One pass over a batch's input that finds every problem, counts every token and indexes every
line.

CPU-heavy, and everything that goes in and comes out can be pickled: meant for a child process.
Memory is bounded by the index (56 bytes a line) and one group of lines, not by the file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from orchestrator.batches.line_index import LineIndexBuilder
from orchestrator.batches.problems import LineProblem, ProblemCode
from orchestrator.batches.request_line import RequestLine
from orchestrator.batches.sizing import Checked, ModelSums, Sizer
from orchestrator.batches.validation import FIRST_PROBLEMS_MAX, LineChecker, LineLimits, empty_file
from orchestrator.jsonl.lines import Line, read_lines
from orchestrator.jsonl.text import one_of, shown
from orchestrator.models.endpoints import ENDPOINTS
from orchestrator.models.tokens import ModelTokens

__all__ = ["ModelSums", "ModelTokens", "Preparation", "PreparationSpec", "prepare"]

GROUP_LINES_MAX = 4_096
GROUP_BYTES_MAX = 8 << 20
MODELS_SHOWN = 5  # in a message


@dataclass(frozen=True)
class PreparationSpec:
    """`models` are all base models that the organization sees and the adapters that lines may name; `refused`
    says of those that its tier does not include why, and what lifts it. `only_lines` are the lines to run,
    from 1, where not all are: the others are indexed but neither checked nor counted."""

    input: Path
    folder: Path
    limits: LineLimits
    models: Mapping[str, ModelTokens]
    refused: Mapping[str, str] = field(default_factory=dict)
    only_lines: Iterable[int] | None = None


@dataclass(frozen=True)
class Preparation:
    """`lines` are all lines of the file; `wanted_lines` can run, `bad_lines` cannot. `index` is a
    file of `LineIndex.to_bytes`; `report` one of LineProblems as JSON, one a line, in line order,
    complete."""

    lines: int
    wanted_lines: int
    bad_lines: int
    first_problems: tuple[LineProblem, ...]
    models: dict[str, ModelSums]
    index: Path
    report: Path


def prepare(spec: PreparationSpec, progress: Callable[[int], None] | None = None) -> Preparation:
    """Read the input once and write the index and the report into `spec.folder`.

    `progress` is told how many lines are done, group by group. Never raises on any input bytes;
    OSError where a file cannot be read or written, OSError or ValueError where a tokenizer is
    unusable.
    """
    index, report = spec.folder / "lines", spec.folder / "report.jsonl"
    sizer, builder, lines = Sizer(spec.models), LineIndexBuilder(), 0
    with spec.input.open("rb") as source, report.open("wb") as report_file:
        problems = _Problems(report_file)
        for group in _groups(_checked(spec, source, problems)):
            builder.add(sizer.rows(group))
            lines += len(group)
            if progress is not None:
                progress(lines)
        if lines == 0:
            problems.tell([empty_file()])
    index.write_bytes(builder.build(sizer.sums, ENDPOINTS).to_bytes())
    return Preparation(
        lines=lines,
        wanted_lines=sum(sums.lines for sums in sizer.sums.values()),
        bad_lines=problems.bad_lines,
        first_problems=tuple(problems.first),
        models=sizer.sums,
        index=index,
        report=report,
    )


class _Problems:
    """Writes every problem to the report and keeps the first."""

    def __init__(self, report: BinaryIO) -> None:
        self.first: list[LineProblem] = []
        self.bad_lines = 0
        self._report = report

    def refuse(self, problems: list[LineProblem]) -> None:
        """One line cannot run, for these reasons."""
        self.bad_lines += 1
        self.tell(problems)

    def tell(self, problems: list[LineProblem]) -> None:
        """Problems as such, of a line or of the whole file."""
        self.first += problems[: FIRST_PROBLEMS_MAX - len(self.first)]
        self._report.writelines(msgspec.json.encode(problem) + b"\n" for problem in problems)


def _checked(spec: PreparationSpec, source: BinaryIO, problems: _Problems) -> Iterator[Checked]:
    """Every line of the file, with its request where it is to run."""
    checker = LineChecker(spec.limits)
    chosen = None if spec.only_lines is None else _mask(spec.only_lines)
    for line in read_lines(source, spec.limits.line_bytes_max):
        if chosen is not None and (checker.line + 1 >= len(chosen) or not chosen[checker.line + 1]):
            checker.skip()
            yield line, None
            continue
        checked = checker.check(line)
        if isinstance(checked, RequestLine):
            checked = _unserved(spec, checked, checker.line) or checked
        if isinstance(checked, RequestLine):
            yield line, checked
        else:
            problems.refuse(checked)
            yield line, None


def _groups(lines: Iterable[Checked]) -> Iterator[list[Checked]]:
    group: list[Checked] = []
    size = 0
    for line, request in lines:
        group.append((line, request))
        size += len(line.raw) if isinstance(line, Line) else 0
        if len(group) == GROUP_LINES_MAX or size >= GROUP_BYTES_MAX:
            yield group
            group, size = [], 0
    if group:
        yield group


def _mask(line_numbers: Iterable[int]) -> bytearray:
    """A byte for each line number, 1 where it is chosen."""
    mask = bytearray(1)
    for number in line_numbers:
        if number >= len(mask):
            mask.extend(bytes(number + 1 - len(mask)))
        mask[number] = 1
    return mask


def _unserved(spec: PreparationSpec, request: RequestLine, line: int) -> list[LineProblem]:
    """Why a well-formed request finds no model: unknown, of another tier, or not for this
    endpoint."""
    name = request.body.model
    model = spec.models.get(name)
    code, param = ProblemCode.MODEL_NOT_FOUND, "body.model"
    if model is None:
        message = f"The provided model {shown(name)} is not supported by the Batch API."
        known = tuple(known for known in spec.models if known not in spec.refused)[:MODELS_SHOWN]
        advice = f"Use {one_of(known)}." if known else "Ask whoever runs this yard for a model."
    elif name in spec.refused:
        code = ProblemCode.MODEL_NOT_PERMITTED
        message, advice = spec.refused[name], "Or use another model."
    elif request.url not in model.endpoints:
        code, param = ProblemCode.INVALID_URL, "url"
        message = f"The model {shown(name)} does not serve {request.url}."
        advice = f"Change the URL to {one_of(model.endpoints)}, or the model."
    else:
        return []
    return [LineProblem(line, request.custom_id, code, f"{message} {advice}", param, f"$.{param}")]
