"""What the demo expects of the batch's two files. Pure: lines in, complaints out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.demo.lines import DemoLine

RIGHT_ANSWERS_MIN = 0.9  # of a model that answers practically all of them right

Result = dict[str, Any]  # one line of an output or error file, in OpenAI's shape


@dataclass(frozen=True)
class Results:
    """Both files, parsed, and the batch's own counts."""

    output: Sequence[Result]
    errors: Sequence[Result]
    total: int
    completed: int
    failed: int


def complaints(sent: Sequence[DemoLine], results: Results) -> Iterator[str]:
    """Each expectation that does not hold, in a sentence."""
    good = [line.custom_id for line in sent if line.answer is not None]
    bad = [line.custom_id for line in sent if line.answer is None]
    yield from _exactly_once(sent, results)
    yield from _in_order("output", good, results.output)
    yield from _in_order("error", bad, results.errors)
    yield from _counts(len(sent), results)
    share = right_answers(sent, results) / len(good)
    if share < RIGHT_ANSWERS_MIN:
        yield f"only {share:.0%} of the answers are right; expected {RIGHT_ANSWERS_MIN:.0%}"


def right_answers(sent: Sequence[DemoLine], results: Results) -> int:
    """How many results are the right answer to their line."""
    answers = {line.custom_id: line.answer for line in sent}
    return sum(answer(result) == answers[result["custom_id"]] for result in results.output)


def answer(result: Result) -> str:
    """What the model said."""
    content: str = result["response"]["body"]["choices"][0]["message"]["content"]
    return content.strip()


def refusal(result: Result) -> str:
    """Why a line of the error file has no result."""
    body = (result["response"] or {}).get("body") or {}
    error: Result = body.get("error") or result["error"]
    return str(error["message"])


def _exactly_once(sent: Sequence[DemoLine], results: Results) -> Iterator[str]:
    times = Counter(result["custom_id"] for result in [*results.output, *results.errors])
    for line in sent:
        if times[line.custom_id] != 1:
            yield f"{line.custom_id} is {times[line.custom_id]} times in the two files, not once"
    for stranger in times.keys() - {line.custom_id for line in sent}:
        yield f"{stranger} was never sent"


def _in_order(name: str, expected: Sequence[str], results: Sequence[Result]) -> Iterator[str]:
    found = [result["custom_id"] for result in results]
    if found != expected:
        yield (
            f"the {name} file has not the {len(expected)} lines that belong there, in the order of"
            f" the input: it has {len(found)}"
        )


def _counts(sent: int, results: Results) -> Iterator[str]:
    counted = (results.total, results.completed, results.failed)
    in_files = (sent, len(results.output), len(results.errors))
    if counted != in_files:
        yield f"request_counts say {counted} (total, completed, failed), the files {in_files}"
