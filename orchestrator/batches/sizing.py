"""How large a request is: the tokens of its prompt, the most it may answer, and which prompts it
resembles.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from orchestrator.batches.line_index import PREFIX_DEPTHS, IndexRow
from orchestrator.batches.request_line import RequestLine
from orchestrator.jsonl.lines import Line, OversizedLine
from orchestrator.models.endpoints import ENDPOINTS
from orchestrator.models.tokens import (
    ModelTokens,
    Prompt,
    PromptBody,
    TokenCounter,
    estimate,
)

_COLUMN_MAX = 2**32 - 1  # the line index keeps counts in 32 bits
_EMBEDDINGS = "/v1/embeddings"

Checked: TypeAlias = tuple[Line | OversizedLine, RequestLine | None]


@dataclass
class ModelSums:
    """Over the lines of one model that can run."""

    lines: int = 0
    prompt_tokens: int = 0
    max_output_tokens: int = 0


class Sizer:
    """Turns groups of checked lines into rows of the index, and adds them up by model.

    Tokenizers are loaded when the first line that needs one comes by.
    """

    def __init__(self, models: Mapping[str, ModelTokens]) -> None:
        self.sums: dict[str, ModelSums] = {}  # its order is that of the index's models
        self._models = models
        self._numbers: dict[str, int] = {}
        self._counters: dict[str | None, TokenCounter] = {}

    def rows(self, group: Sequence[Checked]) -> list[IndexRow]:
        """A row for every line; those without a request keep only their place in the file."""
        rows = [IndexRow(line.offset, _length(line)) for line, _ in group]
        by_tokenizer: dict[str | None, list[tuple[IndexRow, Line, RequestLine]]] = {}
        for row, (line, request) in zip(rows, group, strict=True):
            if request is not None and isinstance(line, Line):
                tokenizer = self._models[request.body.model].tokenizer
                by_tokenizer.setdefault(tokenizer, []).append((row, line, request))
        for tokenizer, wanted in by_tokenizer.items():
            prompts = self._prompts(tokenizer, [(line, request) for _, line, request in wanted])
            for (row, _, request), prompt in zip(wanted, prompts, strict=True):
                self._fill(row, request, prompt)
        return rows

    def _prompts(self, tokenizer: str | None, lines: Sequence[tuple[Line, RequestLine]]) -> list[Prompt]:
        if tokenizer not in self._counters:
            self._counters[tokenizer] = TokenCounter(tokenizer)
        bodies = [_prompt_body(line.raw) for line, _ in lines]
        readable = [(request.url, b) for (_, request), b in zip(lines, bodies, strict=True) if b]
        counted = iter(self._counters[tokenizer].count(readable))
        return [
            next(counted) if body else estimate(line.raw)
            for (line, _), body in zip(lines, bodies, strict=True)
        ]

    def _fill(self, row: IndexRow, request: RequestLine, prompt: Prompt) -> None:
        name = request.body.model
        sums = self.sums.setdefault(name, ModelSums())
        row.model = self._numbers.setdefault(name, len(self._numbers))
        row.endpoint = ENDPOINTS.index(request.url)
        row.prefix = _prefix_hashes(prompt.text)
        row.prompt_tokens = min(prompt.tokens, _COLUMN_MAX)
        row.max_output_tokens = min(_output_bound(self._models[name], request, prompt), _COLUMN_MAX)
        row.wanted = True
        sums.lines += 1
        sums.prompt_tokens += row.prompt_tokens
        sums.max_output_tokens += row.max_output_tokens


def _output_bound(model: ModelTokens, request: RequestLine, prompt: Prompt) -> int:
    """The most tokens that all choices of a request can have together: what it asks for, or the
    default, or the rest of the context window, whichever is least."""
    if request.url == _EMBEDDINGS:
        return 0
    room = max(0, model.context_length * prompt.prompts - prompt.tokens)
    asked = request.body.output_tokens_asked()
    if asked is None:
        asked = model.default_max_output
    bound = room if asked is None else min(asked * prompt.prompts, room)
    return bound * (request.body.n or 1)


def _prefix_hashes(text: str) -> tuple[int, ...]:
    """The hash of the first PREFIX_DEPTHS characters each; the same in every process."""
    digest = hashlib.blake2b(digest_size=8)
    hashes, start = [], 0
    for depth in PREFIX_DEPTHS:
        digest.update(text[start:depth].encode())
        hashes.append(int.from_bytes(digest.digest(), "little"))
        start = depth
    return tuple(hashes)


class _PromptLine(msgspec.Struct):
    body: PromptBody


_PROMPT_LINE = msgspec.json.Decoder(_PromptLine).decode


def _prompt_body(raw: bytes) -> PromptBody | None:
    """None where a number in the prompt is beyond what Python's floats or 64 bits hold."""
    try:
        return _PROMPT_LINE(raw).body
    except msgspec.DecodeError:
        return None


def _length(line: Line | OversizedLine) -> int:
    return min(line.length, _COLUMN_MAX) if isinstance(line, OversizedLine) else len(line.raw)
