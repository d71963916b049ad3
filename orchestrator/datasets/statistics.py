"""How much there is to learn: exact counts and percentiles, in memory that no dataset makes larger."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.datasets.encoding import Encoded


@dataclass(frozen=True)
class DatasetFacts:
    """One file's good examples, as they will be trained: all figures are after cutting.

    `tokens` are those of one epoch, read and learnt, and `learnt_tokens` the learnt ones among them.
    `longest`, `p50` and `p95` are tokens of one sequence; a preference has two. `truncated` counts examples.
    `sha256` is the whole file's.
    """

    examples: int
    tokens: int
    learnt_tokens: int
    truncated: int
    longest: int
    p50: int
    p95: int
    sha256: str


class TokenCounts:
    """Adds up examples whose sequences have at most `tokens_max` tokens: one counter for each length."""

    def __init__(self, tokens_max: int) -> None:
        self._with_length = np.zeros(tokens_max + 1, np.int64)
        self._examples = self._tokens = self._learnt = self._truncated = 0

    def add(self, sequences: Sequence[Encoded]) -> None:
        """One more example."""
        self._examples += 1
        self._truncated += any(sequence.cut for sequence in sequences)
        for sequence in sequences:
            self._with_length[len(sequence.ids)] += 1
            self._tokens += len(sequence.ids)
            self._learnt += sequence.learnt()

    def facts(self, sha256: str) -> DatasetFacts:
        """The sums, of a file with that digest."""
        return DatasetFacts(
            examples=self._examples,
            tokens=self._tokens,
            learnt_tokens=self._learnt,
            truncated=self._truncated,
            longest=self._percentile(1.0),
            p50=self._percentile(0.5),
            p95=self._percentile(0.95),
            sha256=sha256,
        )

    def _percentile(self, share: float) -> int:
        """The least length that this share of all sequences does not exceed; 0 where there is none."""
        below = np.cumsum(self._with_length)
        return int(np.searchsorted(below, share * below[-1])) if below[-1] else 0
