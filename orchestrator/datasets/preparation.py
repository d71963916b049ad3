"""One pass over a job's datasets: every problem of every line, and what is to be learnt as tokens.

CPU-heavy, and everything that goes in and comes out can be pickled: meant for a child process. Memory is
bounded by one group of lines and, where there is a validation file, 8 bytes an example; not by the files.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from orchestrator.datasets.encoding import Encoded, Encoder
from orchestrator.datasets.examples import Example, PairExample, PreferenceExample, parse
from orchestrator.datasets.problems import DatasetFile, ExampleCode, ExampleProblem, Fault
from orchestrator.datasets.statistics import DatasetFacts, TokenCounts
from orchestrator.datasets.token_file import TokenFileWriter
from orchestrator.jsonl.lines import Line, OversizedLine, read_lines

__all__ = ["DatasetFacts", "DatasetSpec", "PreparedDataset", "prepare"]

LINE_BYTES_MAX = 4 << 20  # a million tokens and more, beyond what any model learns at once
GROUP_LINES_MAX = 1_024
GROUP_BYTES_MAX = 4 << 20
FIRST_PROBLEMS_MAX = 100

Numbered = tuple[int, Example | list[Fault]]  # a line's number, from 1, and what it is


@dataclass(frozen=True)
class DatasetSpec:
    """`method` is `supervised` or `dpo`, `tokenizer` a local folder. Sequences are cut off at their end to
    `example_tokens_max` tokens. Token files and the report are written into `folder`."""

    train: Path
    valid: Path | None
    folder: Path
    method: str
    tokenizer: str
    example_tokens_max: int
    examples_min: int = 10


@dataclass(frozen=True)
class PreparedDataset:
    """With `dpo` each example is two sequences of a token file, the preferred one first. `report` has every
    problem as JSON, one a line; `bad_examples` counts the lines that have one. `shared_examples` are those
    of the validation file that the training file has too. `warnings` are sentences for the customer."""

    train: DatasetFacts
    valid: DatasetFacts | None
    train_tokens: Path
    valid_tokens: Path | None
    report: Path
    problems: int
    bad_examples: int
    first_problems: tuple[ExampleProblem, ...]
    shared_examples: int
    warnings: tuple[str, ...]


def prepare(spec: DatasetSpec) -> PreparedDataset:
    """Read each file once; write token files and the report. Where there are problems, the token files hold
    the examples that have none.

    Never raises on any input bytes; OSError where a file cannot be read or written, OSError or ValueError
    where the tokenizer is unusable.
    """
    encoder = Encoder(spec.tokenizer, spec.example_tokens_max)
    train_tokens, valid_tokens = spec.folder / "train.tokens", spec.folder / "valid.tokens"
    report = spec.folder / "report.jsonl"
    with report.open("wb") as report_file:
        problems = _Problems(report_file)
        train = _Reading(spec, encoder, DatasetFile.TRAINING, problems, fingerprints=spec.valid is not None)
        train_facts = train.read(spec.train, train_tokens)
        if train.lines < spec.examples_min:
            problems.of_file(DatasetFile.TRAINING, _too_few(train.lines, spec.examples_min))
        valid_facts, shared, tools_unwritten = None, 0, train.tools_unwritten
        if spec.valid is not None:
            valid = _Reading(spec, encoder, DatasetFile.VALIDATION, problems, fingerprints=True)
            valid_facts = valid.read(spec.valid, valid_tokens)
            tools_unwritten += valid.tools_unwritten
            if valid.lines == 0:
                problems.of_file(DatasetFile.VALIDATION, _EMPTY)
            shared = int(np.isin(np.asarray(valid.fingerprints), np.asarray(train.fingerprints)).sum())
    return PreparedDataset(
        train=train_facts,
        valid=valid_facts,
        train_tokens=train_tokens,
        valid_tokens=None if valid_facts is None else valid_tokens,
        report=report,
        problems=problems.count,
        bad_examples=problems.bad_examples,
        first_problems=tuple(problems.first),
        shared_examples=shared,
        warnings=tuple(_warnings(spec, train_facts, valid_facts, shared, tools_unwritten)),
    )


class _Problems:
    """Writes every problem to the report, counts them, and keeps the first."""

    def __init__(self, report: BinaryIO) -> None:
        self.first: list[ExampleProblem] = []
        self.count = 0
        self.bad_examples = 0
        self._report = report

    def of_line(self, file: DatasetFile, line: int, faults: Iterable[Fault]) -> None:
        """An example cannot be learnt from, for these reasons."""
        self.bad_examples += 1
        for fault in faults:
            self._tell(ExampleProblem.of(file, line, fault))

    def of_file(self, file: DatasetFile, fault: Fault) -> None:
        """The file cannot be used as a whole."""
        self._tell(ExampleProblem(file, None, fault.code, fault.message, file))

    def _tell(self, problem: ExampleProblem) -> None:
        self.count += 1
        if len(self.first) < FIRST_PROBLEMS_MAX:
            self.first.append(problem)
        self._report.write(msgspec.json.encode(problem) + b"\n")


class _Reading:
    """One file on its way to a token file."""

    def __init__(
        self,
        spec: DatasetSpec,
        encoder: Encoder,
        file: DatasetFile,
        problems: _Problems,
        *,
        fingerprints: bool,
    ) -> None:
        self.lines = 0
        self.tools_unwritten = 0  # examples with tools, where the model's template has no place for them
        self.fingerprints = array("q")  # of each example: 64 bits of its tokens
        self._wants_fingerprints = fingerprints
        self._spec, self._encoder, self._file, self._problems = spec, encoder, file, problems

    def read(self, source: Path, target: Path) -> DatasetFacts:
        """Write the good examples of `source` to `target` as tokens."""
        counts = TokenCounts(self._spec.example_tokens_max)
        with source.open("rb") as lines, TokenFileWriter(target) as writer:
            for group in _groups(read_lines(lines, LINE_BYTES_MAX)):
                self._add(group, writer, counts)
        with source.open("rb") as whole:
            return counts.facts(hashlib.file_digest(whole, "sha256").hexdigest())

    def _add(self, group: list[Line | OversizedLine], writer: TokenFileWriter, counts: TokenCounts) -> None:
        numbered: list[Numbered] = [
            (number, _example(line, self._spec.method)) for number, line in enumerate(group, self.lines + 1)
        ]
        self.lines += len(group)
        encoded = iter(self._encoder.encode([each for _, each in numbered if not isinstance(each, list)]))
        for number, example in numbered:
            if isinstance(example, list):
                self._problems.of_line(self._file, number, example)
                continue
            sequences = next(encoded)
            if isinstance(sequences, Fault):
                self._problems.of_line(self._file, number, [sequences])
            else:
                self._keep(example, sequences, writer, counts)

    def _keep(
        self, example: Example, sequences: list[Encoded], writer: TokenFileWriter, counts: TokenCounts
    ) -> None:
        for sequence in sequences:
            writer.add(sequence.ids, sequence.learn)
        counts.add(sequences)
        if self._wants_fingerprints:
            self.fingerprints.append(hash(b"".join(sequence.ids.tobytes() for sequence in sequences)))
        self.tools_unwritten += not self._encoder.writes_tools and _has_tools(example)


def _groups(lines: Iterable[Line | OversizedLine]) -> Iterator[list[Line | OversizedLine]]:
    group: list[Line | OversizedLine] = []
    size = 0
    for line in lines:
        group.append(line)
        size += len(line.raw) if isinstance(line, Line) else 0
        if len(group) == GROUP_LINES_MAX or size >= GROUP_BYTES_MAX:
            yield group
            group, size = [], 0
    if group:
        yield group


def _example(line: Line | OversizedLine, method: str) -> Example | list[Fault]:
    if isinstance(line, Line):
        return parse(line.raw, method)
    length = f"{line.length:,} bytes, but at most {LINE_BYTES_MAX:,}"
    return [Fault(ExampleCode.LINE_TOO_LONG, f"This line has {length} are allowed. Shorten the example.")]


def _has_tools(example: Example) -> bool:
    if isinstance(example, PairExample):
        return False
    chat = example.preferred if isinstance(example, PreferenceExample) else example
    return bool(chat.tools) or any("tool_calls" in message for message in chat.messages)


def _too_few(found: int, least: int) -> Fault:
    message = f"Training file has {found} example(s), but must have at least {least} examples"
    return Fault(ExampleCode.INVALID_N_EXAMPLES, message)


_EMPTY = Fault(ExampleCode.EMPTY_FILE, "The validation file has no examples. Write one a line.")


def _warnings(
    spec: DatasetSpec, train: DatasetFacts, valid: DatasetFacts | None, shared: int, tools_unwritten: int
) -> Iterator[str]:
    for name, facts in (("training", train), ("validation", valid)):
        if facts is not None and facts.truncated:
            yield (
                f"{facts.truncated:,} of {facts.examples:,} examples of the {name} file are longer than "
                f"{spec.example_tokens_max:,} tokens and are cut off at their end."
            )
    if shared and valid is not None:
        yield (
            f"{shared:,} of {valid.examples:,} examples of the validation file are in the training file too, "
            "so the validation loss says less about what was never seen."
        )
    if tools_unwritten:
        yield (
            f"This model's chat template has no place for tools, which {tools_unwritten:,} of the examples "
            "have: they are learnt without them."
        )
