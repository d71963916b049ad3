"""What a batch will take: tokens, cost, and when it starts and ends. Pure arithmetic over what is
known.

How long answers get is not known before they are there. The quote takes the mean of earlier answers, the
organization's own first: `OWN_LINES_WEIGHT` lines of everybody's weigh as much as as many of its own, so with
a few own answers it is mostly theirs, and with many its own. Or it says that there were none to go by. The
worst case needs no guess and is what a batch cannot exceed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.metering.pace import Pace
from orchestrator.metering.prices import Prices, cost_micros

HISTORY_LINES_MIN = 20  # fewer answers say little about the next
FALLBACK_OUTPUT_SHARE = 0.25  # of the bound, where there is no history
OWN_LINES_WEIGHT = 50  # earlier answers to everybody, against those to the organization itself


@dataclass(frozen=True)
class OutputHistory:
    """Earlier answers of one model: to everybody, and of those the organization's own."""

    lines: int
    output_tokens: int
    own_lines: int = 0
    own_output_tokens: int = 0

    def mean(self) -> float:
        """Output tokens a line to expect."""
        weighed = OWN_LINES_WEIGHT * self.output_tokens / self.lines
        return (self.own_output_tokens + weighed) / (self.own_lines + OWN_LINES_WEIGHT)


@dataclass(frozen=True)
class Neighbour:
    """Another batch on the same engines: the tokens, prompt and output together, that it still wants, and how
    many of its lines are in flight for each line of the batch that asks."""

    tokens: int
    pressure: float


@dataclass(frozen=True)
class ModelLoad:
    """What a batch asks of one model, and how that model is doing.

    `max_output_tokens` is the sum of the lines' bounds. `pace` counts prompt and output together; None: never
    measured. `neighbours` share its engines with this batch; `start_seconds` and `late_start_seconds` are
    what an engine takes to start, as a rule and in one case of ten, where none is ready.
    """

    lines: int
    prompt_tokens: int
    max_output_tokens: int
    prices: Prices
    history: OutputHistory | None = None
    pace: Pace | None = None
    neighbours: Sequence[Neighbour] = ()
    start_seconds: float = 0.0
    late_start_seconds: float = 0.0


@dataclass(frozen=True)
class Quote:
    """Seconds are from now, and None where some model's rate is unknown. `basis` says in a sentence
    or two where the numbers come from."""

    prompt_tokens: int
    expected_output_tokens: int
    worst_output_tokens: int
    expected_cost_micros: int
    worst_cost_micros: int
    start_p50_seconds: float | None
    start_p90_seconds: float | None
    finish_p50_seconds: float | None
    finish_p90_seconds: float | None
    basis: str


def quote(loads: Mapping[str, ModelLoad], discount: float) -> Quote:
    """The quote for a batch over `loads` by model, at `discount` off the list prices.

    Costs assume that no prompt token is cached. Models run side by side: the batch starts with the
    first and ends with the last.
    """
    expected = {model: _expected_output(load) for model, load in loads.items()}
    starts, late_starts, ends, late_ends = [], [], [], []
    for model, load in loads.items():
        if load.pace is None:
            continue
        lasts = load.pace.seconds(_until_its_last(load, load.prompt_tokens + expected[model]))
        starts.append(load.start_seconds)
        late_starts.append(load.late_start_seconds)
        ends.append(load.start_seconds + lasts)
        late_ends.append(max(load.start_seconds + lasts * load.pace.p90, load.late_start_seconds + lasts))
    timed = bool(loads) and len(ends) == len(loads)
    return Quote(
        prompt_tokens=sum(load.prompt_tokens for load in loads.values()),
        expected_output_tokens=sum(expected.values()),
        worst_output_tokens=sum(load.max_output_tokens for load in loads.values()),
        expected_cost_micros=sum(_cost(load, expected[model], discount) for model, load in loads.items()),
        worst_cost_micros=sum(_cost(load, load.max_output_tokens, discount) for load in loads.values()),
        start_p50_seconds=min(starts) if timed else None,
        start_p90_seconds=min(late_starts) if timed else None,
        finish_p50_seconds=max(ends) if timed else None,
        finish_p90_seconds=max(late_ends) if timed else None,
        basis=_basis(loads),
    )


def _until_its_last(load: ModelLoad, own: int) -> int:
    """Tokens that the engines work through until this batch has had its own."""
    beside = (min(other.tokens, own * other.pressure) for other in load.neighbours)
    return own + round(sum(beside))


def _known(load: ModelLoad) -> bool:
    return load.history is not None and load.history.lines >= HISTORY_LINES_MIN


def _expected_output(load: ModelLoad) -> int:
    """Mean length of earlier answers times lines, or a share of the bound; never above the
    bound."""
    if load.history is None or not _known(load):
        return round(load.max_output_tokens * FALLBACK_OUTPUT_SHARE)
    return min(load.max_output_tokens, round(load.lines * load.history.mean()))


def _cost(load: ModelLoad, output_tokens: int, discount: float) -> int:
    usage = {"input_tokens": load.prompt_tokens, "output_tokens": output_tokens}
    return cost_micros(usage, load.prices, discount)


def _basis(loads: Mapping[str, ModelLoad]) -> str:
    told = []
    known = [model for model, load in loads.items() if _known(load)]
    guessed = [model for model in loads if model not in known]
    unmeasured = [model for model, load in loads.items() if load.pace is None]
    if known:
        told.append(f"Output from the mean of earlier answers, your own first, for {', '.join(known)}.")
    if guessed:
        told.append(
            f"Output taken as {FALLBACK_OUTPUT_SHARE:.0%} of the bound for {', '.join(guessed)}: "
            f"fewer than {HISTORY_LINES_MIN} earlier answers."
        )
    if unmeasured:
        told.append(f"No times: the rate of {', '.join(unmeasured)} has not been measured yet.")
    return " ".join(told)
