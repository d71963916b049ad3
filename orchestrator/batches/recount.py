"""What a batch's output file says was used, counted again line by line as its customer can."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from orchestrator.batches.answer_usage import Answer
from orchestrator.jsonl.lines import BYTE_ORDER_MARK


class _Response(Struct):
    body: Answer


class _OutputLine(Struct):
    custom_id: Raw
    response: _Response


class _Model(Struct):
    model: str


class _InputLine(Struct):
    custom_id: Raw
    body: _Model


def recount(output: Path, *, model: str | None, requests: Path | None) -> dict[str, Counter[str]]:
    """Lines and tokens by model, as in `Batch.usage`. `model` is that of all lines; without one, each line's
    is looked up in the input file `requests`, which has the lines in the same order.

    Raises ValueError where a line of the output is none, or answers no line of the input.
    """
    asked = iter(()) if requests is None else _requests(requests)
    usage: dict[str, Counter[str]] = {}
    with output.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            try:
                line = _decode_output(raw)
            except msgspec.DecodeError as error:
                raise ValueError(f"line {number} of the output file is no answer: {error}") from None
            name = model or next((named for custom_id, named in asked if custom_id == line.custom_id), None)
            if name is None:
                raise ValueError(f"line {number} of the output file answers no line of the input")
            used = usage.setdefault(name, Counter())
            used["lines"] += 1
            used.update(msgspec.structs.asdict(line.response.body.tokens()))
    return usage


def _requests(path: Path) -> Iterator[tuple[Raw, str]]:
    """The custom_id and the model of each line that has both."""
    with path.open("rb") as lines:
        for raw in lines:
            try:
                line = _decode_input(raw.removeprefix(BYTE_ORDER_MARK))
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # refused by validation, and in no output file
            yield line.custom_id, line.body.model


_decode_output = msgspec.json.Decoder(_OutputLine).decode
_decode_input = msgspec.json.Decoder(_InputLine).decode
