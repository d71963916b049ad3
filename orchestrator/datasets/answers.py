"""A conversation as the model's chat template writes it, and where in that text stands what is to be learnt.

Two ways to find an answer. A template with `{% generation %}` says so itself. With any other, an answer is
what the conversation has more after it than before it; that holds only where a template writes the earlier
messages alike whatever follows, and is refused where not.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.datasets.examples import ChatExample
from orchestrator.datasets.problems import ExampleCode, Fault
from orchestrator.models.tokens import load_tokenizer, marks_answers, render_chat

Span = tuple[int, int]  # from this character of a text, to before that one

_REWRITES = (
    "This model's chat template writes this answer otherwise once the conversation goes on, so a model "
    "trained on it would not see what it sees when it is asked. Give earlier assistant messages weight 0, "
    "or split the conversation into examples that each end with the answer to learn."
)


class Refused(Exception):
    """A conversation that cannot be learnt from with this template."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class AnswerText(NamedTuple):
    """A text and the spans of it that are learnt, in order."""

    text: str
    learnt: list[Span]


class ChatTemplate:
    """The chat template of a tokenizer in a local folder. Raises OSError or ValueError without one."""

    def __init__(self, folder: Path | str) -> None:
        self.tokenizer: Any = load_tokenizer(folder)
        template = self.tokenizer.chat_template or ""
        self._marks_answers = isinstance(template, str) and marks_answers(template)
        self._turn_ends = tuple(
            self.tokenizer.decode([end]) for end in _end_ids(self.tokenizer, Path(folder))
        )
        self.writes_tools = "tool" in str(template)

    def write(self, chat: ChatExample) -> AnswerText:
        """The whole conversation, and each answer to be learnt with the token that ends its turn: a model
        that has not learnt it never stops. Raises Refused."""
        text, marked = self._render(chat, len(chat.messages))
        spans = self._by_marks(chat, text, marked) or self._by_difference(chat, text)
        return AnswerText(text, [self._with_turn_end(text, span) for span in spans])

    def _by_marks(self, chat: ChatExample, text: str, marked: list[Span]) -> list[Span]:
        """The template's own marks, where there is one for each answer and it holds the answer."""
        answers = [number for number, message in enumerate(chat.messages) if message["role"] == "assistant"]
        if not self._marks_answers or len(marked) != len(answers):
            return []
        held = all(
            chat.messages[number]["content"].strip() in text[start:end]
            for number, (start, end) in zip(answers, marked, strict=True)
        )
        return [s for number, s in zip(answers, marked, strict=True) if chat.learn[number]] if held else []

    def _by_difference(self, chat: ChatExample, text: str) -> list[Span]:
        spans = []
        for number, learn in enumerate(chat.learn):
            if not learn:
                continue
            before, _ = self._render(chat, number, open_answer=True)
            after, _ = self._render(chat, number + 1)
            if not (text.startswith(before) and text.startswith(after) and len(before) < len(after)):
                path = f"$.messages[{number}]"
                raise Refused(Fault(ExampleCode.TEMPLATE_REWRITES_HISTORY, _REWRITES, path))
            spans.append((len(before), len(after)))
        return spans

    def _render(self, chat: ChatExample, count: int, *, open_answer: bool = False) -> tuple[str, list[Span]]:
        """The first `count` messages."""
        try:
            return render_chat(self.tokenizer, chat.messages[:count], chat.tools, open_answer=open_answer)
        except ValueError as error:
            message = f"This model's chat template refuses the conversation: {error}"
            raise Refused(Fault(ExampleCode.TEMPLATE_REFUSED, message, "$.messages")) from error

    def _with_turn_end(self, text: str, span: Span) -> Span:
        """The span up to the end of its turn, where a token ends it, and not beyond."""
        start, end = span
        body = text[start:end].rstrip()
        if body.endswith(self._turn_ends):
            return start, start + len(body)
        rest = text[end:].lstrip()
        for turn_end in self._turn_ends:
            if rest.startswith(turn_end):
                return start, len(text) - len(rest) + len(turn_end)
        return span


def _end_ids(tokenizer: Any, folder: Path) -> list[int]:
    """The tokens that end an answer: the tokenizer's, and those at which the engine stops."""
    ends = [tokenizer.eos_token_id]
    generation = folder / "generation_config.json"
    if generation.is_file():
        stops = json.loads(generation.read_bytes()).get("eos_token_id")
        ends += stops if isinstance(stops, list) else [stops]
    return [end for end in dict.fromkeys(ends) if end is not None]
