"""Examples as token ids, each with a mark: learnt, or only read. Encoded in bounded groups, on all cores."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from orchestrator.datasets.answers import AnswerText, ChatTemplate, Refused, Span
from orchestrator.datasets.examples import Example, PairExample, PreferenceExample
from orchestrator.datasets.problems import ExampleCode, Fault
from orchestrator.models.tokens import grouped

_START, _END = itemgetter(0), itemgetter(1)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sequence. `ids` and `learn` (0 or 1) have the same length; `cut` says that its end is missing."""

    ids: "array[int]"
    learn: bytearray
    cut: bool

    def learnt(self) -> int:
        """Tokens to learn, not counting a first token, which nothing predicts."""
        return sum(self.learn) - self.learn[0]


class Encoder:
    """Encodes for the model in `folder`, cutting off what is beyond `tokens_max` tokens of a sequence.

    Raises OSError or ValueError where the folder has no tokenizer.
    """

    def __init__(self, folder: Path | str, tokens_max: int) -> None:
        self._template = ChatTemplate(folder)
        self._tokens_max = tokens_max
        tokenizer = self._template.tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        begins = self._backend.encode("x").ids[:1] == [tokenizer.bos_token_id]
        self._beginning = [tokenizer.bos_token_id] if begins else []
        self.writes_tools = self._template.writes_tools

    def encode(self, examples: Sequence[Example]) -> list[list[Encoded] | Fault]:
        """The sequences of each example, in order: one, or for a preference two, the preferred first."""
        written = [self._write(example) for example in examples]
        texts = (text for texts in written if not isinstance(texts, Fault) for text in texts)
        sequences = self._encode(texts)
        encoded: list[list[Encoded] | Fault] = []
        for example, texts_or_fault in zip(examples, written, strict=True):
            if isinstance(texts_or_fault, Fault):
                encoded.append(texts_or_fault)
                continue
            of_example = [
                self._framed(next(sequences), plain=isinstance(example, PairExample)) for _ in texts_or_fault
            ]
            encoded.append(of_example if all(each.learnt() for each in of_example) else self._unlearnable())
        return encoded

    def _write(self, example: Example) -> list[AnswerText] | Fault:
        try:
            if isinstance(example, PairExample):
                text = example.prompt + example.completion
                return [AnswerText(text, [(len(example.prompt), len(text))])]
            if isinstance(example, PreferenceExample):
                return [self._template.write(chat) for chat in (example.preferred, example.rejected)]
            return [self._template.write(example)]
        except Refused as refused:
            return refused.fault

    def _encode(self, texts: Iterable[AnswerText]) -> Iterator[tuple[list[int], bytearray]]:
        """No special tokens are added: a template writes its own, and a pair is framed afterwards."""
        for group in grouped(texts, lambda each: len(each.text)):
            encodings = self._backend.encode_batch([each.text for each in group], add_special_tokens=False)
            for each, encoding in zip(group, encodings, strict=True):
                yield encoding.ids, marks(encoding.offsets, each.learnt)

    def _framed(self, sequence: tuple[list[int], bytearray], *, plain: bool) -> Encoded:
        """Cut to length; plain text begins as the tokenizer begins one, and learns to end."""
        ids, learn = sequence
        if plain:
            ids = self._beginning + ids + self._end
            learn = bytearray(len(self._beginning)) + learn + b"\1" * len(self._end)
        most = self._tokens_max
        return Encoded(array("I", ids[:most]), learn[:most], len(ids) > most)

    def _unlearnable(self) -> Fault:
        return Fault(
            ExampleCode.NOTHING_TO_LEARN,
            f"Nothing is left to learn of this example once it is cut to {self._tokens_max:,} tokens: what "
            "comes before its answer is too long. Shorten that.",
        )


def marks(offsets: Sequence[Span], learnt: Iterable[Span]) -> bytearray:
    """1 for each token that has a character of a learnt span, else 0. `offsets` are the tokens' characters,
    in order."""
    learn = bytearray(len(offsets))
    for start, end in learnt:
        first = bisect_right(offsets, start, key=_END)
        last = bisect_left(offsets, end, key=_START)
        learn[first:last] = b"\1" * (last - first)
    return learn
