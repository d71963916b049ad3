"""How far off quotes are: before a yard has answered anything, and after ten batches, on a real engine."""

import io
import json
from collections.abc import Mapping, Sequence
from random import Random
from statistics import median

import openai
from openai.types import Batch

from api.schemas.quotes import QuoteList, QuoteObject
from tests.benchmarks.running import whole_yard
from tests.benchmarks.table import Table
from tests.customer import Line, chat, customer, done, submit
from tests.yard_process import YardProcess

BATCHES, BATCHES_QUICK = 10, 2  # of history, and measured
AT_ONCE, ROUNDS = 3, 3
LINES = (20, 300)
PROMPT_WORDS = (5, 120)
BOUNDS = (64, 128, 256)  # `max_tokens`
ANSWER_TOKENS_MEAN = 40.0
END_OF_ANSWER = "2"  # the smoke model's token
SEED = 11
QUOTES_MAX = 100

NOTES = f"""\
One customer, one model, batches of {LINES[0]} to {LINES[1]} lines, each batch with a bound (`max_tokens`) of
{BOUNDS[0]}, {BOUNDS[1]} or {BOUNDS[2]} and with prompts of up to {PROMPT_WORDS[0]} to {PROMPT_WORDS[1]}
words. How long an answer gets is drawn line by line, in all batches alike: exponentially, of
{ANSWER_TOKENS_MEAN:.0f} tokens on average, cut off at the bound. A quote knows the bound and the answers
before it. An error is |quoted - actual| / actual, as `GET /v1/usage/quotes` has it; "finish" is from the
quote to the last line. The first and the third row are of the same files; for the first they were quoted on
a yard that had never answered."""

Errors = Sequence[tuple[float | None, float | None]]  # of cost and of finish, quote by quote


def measure(*, quick: bool) -> Table:
    """Batches one after the other, then some at once."""
    count = BATCHES_QUICK if quick else BATCHES
    draws = Random(SEED)
    history = [_lines(draws, f"History {number}") for number in range(count)]
    measured = [_lines(draws, f"Measured {number}") for number in range(count)]
    together = [
        [_lines(draws, f"Round {turn}, {number}") for number in range(AT_ONCE)] for turn in range(ROUNDS)
    ]
    with whole_yard() as yard, customer(yard) as client:
        blind = [_cost_quoted(client, lines) for lines in measured]
        learning = [done(client, yard, submit(client, lines)) for lines in history]
        after = [done(client, yard, submit(client, lines)) for lines in measured]
        crowd = [batch for several in together for batch in _at_once(client, yard, several)]
        quotes = _quotes(client)
    came = [_actual_cost(quotes[batch.id]) for batch in after]
    guesses = [(abs(quoted - cost) / cost, None) for quoted, cost in zip(blind, came, strict=True)]
    return Table(
        title="How far off quotes are",
        columns=("", "batches", "cost, median", "p90", "finish, median", "p90"),
        rows=[
            _row("before any answer", guesses),
            _row("the first ones, each with those before it", _errors(quotes, learning)),
            _row(f"after {count} batches", _errors(quotes, after)),
            _row(f"more of them, {AT_ONCE} created at once", _errors(quotes, crowd)),
        ],
        notes=NOTES,
    )


def _lines(draws: Random, about: str) -> list[Line]:
    """One batch. `about` keeps its prompts from any engine's cache."""
    bound, words = draws.choice(BOUNDS), draws.randint(*PROMPT_WORDS)
    return [
        chat(
            number,
            system=f"{about}, {number}. {'Name the subject. ' * draws.randint(1, max(1, words // 3))}",
            max_tokens=bound,
            min_tokens=min(bound, 1 + int(draws.expovariate(1 / ANSWER_TOKENS_MEAN))),
            logit_bias={END_OF_ANSWER: 100},  # as soon as `min_tokens` lets it
        )
        for number in range(draws.randint(*LINES))
    ]


def _cost_quoted(client: openai.OpenAI, lines: Sequence[Line]) -> int:
    """Micro-dollars that a file of the lines is expected to cost."""
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    file = client.files.create(file=("in.jsonl", io.BytesIO(text.encode())), purpose="batch")
    answer: dict[str, dict[str, int]] = client.post(f"/files/{file.id}/validate", cast_to=object)  # type: ignore[assignment]  # their client types no JSON
    return answer["quote"]["expected_cost_micros"]


def _at_once(client: openai.OpenAI, yard: YardProcess, several: Sequence[Sequence[Line]]) -> list[Batch]:
    """All created before any has ended."""
    return [done(client, yard, batch) for batch in [submit(client, lines) for lines in several]]


def _quotes(client: openai.OpenAI) -> Mapping[str, QuoteObject]:
    """By batch."""
    answer = client.get(f"/usage/quotes?limit={QUOTES_MAX}", cast_to=object)
    page = QuoteList.model_validate(answer)
    assert not page.has_more
    return {quote.batch_id: quote for quote in page.data if quote.batch_id is not None}


def _actual_cost(quote: QuoteObject) -> int:
    assert quote.actual is not None, quote
    return quote.actual.cost_micros


def _errors(quotes: Mapping[str, QuoteObject], batches: Sequence[Batch]) -> Errors:
    return [(quotes[batch.id].cost_error, quotes[batch.id].finish_error) for batch in batches]


def _row(name: str, errors: Errors) -> list[str]:
    costs = [cost for cost, _ in errors if cost is not None]
    finishes = [finish for _, finish in errors if finish is not None]
    return [name, str(len(errors)), *_shares(costs), *_shares(finishes)]


def _shares(errors: Sequence[float]) -> list[str]:
    if not errors:
        return ["not quoted", ""]
    ordered = sorted(errors)
    return [f"{median(ordered):.0%}", f"{ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))]:.0%}"]
