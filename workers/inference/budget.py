"""What a drive may spend: it sends a line only while what is answered and what is in flight leave room.

What was spent is reckoned as it will be charged. What a line in flight will cost is expected: its prompt is
counted, its answer is taken to be as long as the model's answers so far, or as was quoted while there are
few. So a drive goes past its grant by no more than its lines in flight cost beyond what was expected.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from orchestrator.batches.line_index import LineIndex
from orchestrator.batches.segments import LineUsage
from orchestrator.metering.prices import MILLION, Prices, Rate
from orchestrator.spending.bill import Bill

QUOTE_ANSWERS = 20  # the quote's length of an answer weighs as much as so many answers
PIECE = 0.1  # of what the rest is expected to cost: so much more is asked for at a time
ASK_BELOW = 0.5  # of a piece left
FREE = Rate(Prices(0, 0, 0), 0.0)


class Budget:
    """One drive's money. Micro-dollars, whole ones where they are charged; None: no limit. Event loop only.

    `todo` are the lines (from 0) without a result, `used` the usage of those that earlier attempts have
    answered, `output_share` how much of its bound an answer takes as quoted. `on_short` is called when a line
    cannot be sent for want of money, once for each grant.
    """

    def __init__(
        self,
        index: LineIndex,
        *,
        todo: Sequence[int] | NDArray[np.int64] = (),
        rates: Mapping[str, Rate] = MappingProxyType({}),
        used: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
        output_share: float = 0.0,
        on_short: Callable[[], None] = lambda: None,
    ) -> None:
        lines = np.asarray(todo, np.int64)
        self._index = index
        self._models = [
            _Model.of(index, lines[index.model[lines] == number], rates.get(name, FREE), output_share)
            for number, name in enumerate(index.models)
        ]
        self._spent = 0
        for model, name in zip(self._models, index.models, strict=True):
            self._spent += model.add(used.get(name, {}))
        self._granted: int | None = None
        self._reserved: dict[int, float] = {}  # expected cost of the lines in flight
        self._pending = 0.0  # their sum
        self._needed = 0.0  # for the line that was last refused, until one is sent
        self._on_short = on_short
        self._asked = False

    @property
    def stalled(self) -> bool:
        """Whether nothing is in flight, for want of money."""
        if self._granted is None or self._reserved:
            return False
        return self._spent + self._needed > self._granted

    def reserve(self, line: int) -> bool:
        """Take what the line is expected to cost; False if that is not there."""
        cost = self._model(line).line(self._index.prompt_tokens[line], self._index.max_output_tokens[line])
        if self._granted is not None and self._spent + self._pending + cost > self._granted:
            self._needed = cost
            if not self._asked:
                self._asked = True
                self._on_short()
            return False
        self._needed = 0.0
        self._reserved[line] = cost
        self._pending += cost
        return True

    def release(self, line: int) -> None:
        """The line is not in flight any more; whether it has a result is `answered`'s to say."""
        self._pending -= self._reserved.pop(line, 0.0)
        if not self._reserved:
            self._pending = 0.0  # rid of what rounding has left

    def answered(self, line: int, usage: LineUsage | None) -> None:
        """The line has its result; `usage` where it will be charged."""
        self.release(line)
        model = self._model(line)
        model.lines -= 1
        model.prompt_tokens -= int(self._index.prompt_tokens[line])
        if usage is not None:
            self._spent += model.add({"lines": 1, **structs.asdict(usage)})

    def grant(self, micros: int | None) -> None:
        """All that the batch may cost from now on."""
        if micros is None or micros > (self._granted or 0):
            self._asked = False
        self._granted = micros

    def bill(self) -> Bill:
        """What to tell and to ask for: in pieces, and in time."""
        spent, pending = self._spent, math.ceil(self._pending)
        rest = max(sum(model.rest() for model in self._models) - self._pending, self._needed)
        lines = sum(model.lines for model in self._models) - len(self._reserved)
        if self._granted is None or lines <= 0:
            return Bill(spent, pending)
        least = self._needed or rest / lines
        piece = max(PIECE * rest, least)
        left = self._granted - spent - pending
        if left >= min(rest, max(ASK_BELOW * piece, self._needed)):
            return Bill(spent, pending)
        return Bill(spent, pending, wanted=math.ceil(piece), least=math.ceil(least))

    def _model(self, line: int) -> "_Model":
        return self._models[int(self._index.model[line])]


@dataclass
class _Model:
    """One model's lines without a result, and what its answers were like."""

    rate: Rate
    lines: int
    prompt_tokens: int
    answers: float
    output_tokens: float
    used: Counter[str] = field(default_factory=Counter)  # as in a batch's usage

    @classmethod
    def of(cls, index: LineIndex, lines: NDArray[np.int64], rate: Rate, output_share: float) -> "_Model":
        """What is known of these lines before one is answered."""
        bound = float(index.max_output_tokens[lines].mean()) if len(lines) else 0.0
        return cls(
            rate=rate,
            lines=len(lines),
            prompt_tokens=int(index.prompt_tokens[lines].sum()),
            answers=QUOTE_ANSWERS,
            output_tokens=QUOTE_ANSWERS * bound * output_share,
        )

    def add(self, used: Mapping[str, int]) -> int:
        """Answered lines: what they add to the charge."""
        before = self.rate.cost_micros(self.used)
        self.used.update(used)
        self.answers += used.get("lines", 0)
        self.output_tokens += used.get("output_tokens", 0)
        return self.rate.cost_micros(self.used) - before

    def line(self, prompt_tokens: int, output_tokens_max: int) -> float:
        """What one line is expected to cost."""
        answer = min(self.output_tokens / self.answers, float(output_tokens_max))
        return self._micros(float(prompt_tokens), answer)

    def rest(self) -> float:
        """What all lines without a result are expected to cost."""
        return self._micros(self.prompt_tokens, self.lines * self.output_tokens / self.answers)

    def _micros(self, prompt_tokens: float, output_tokens: float) -> float:
        prices = self.rate.prices
        listed = prompt_tokens * prices.input + output_tokens * prices.output
        return listed * (1 - self.rate.discount) / MILLION
