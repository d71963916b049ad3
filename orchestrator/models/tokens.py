"""How many tokens a prompt has, by the model's own chat template and tokenizer; no torch, no
network.

What cannot be rendered is estimated, never refused: the engine judges the request, this only sizes
it.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec

BYTES_PER_TOKEN = 4  # of an estimate; usual for English in today's vocabularies
ENCODED_CHARACTERS_MAX = 1_000_000  # at a time: the tokenizer keeps some 100 bytes a token

_TEMPLATE_OPTIONS = {"chat_template": None, "tokenize": False, "add_generation_prompt": True}
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json")
_NO_TORCH_ADVICE = "PyTorch was not found"
_ANSWER_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")

TokenIds: TypeAlias = list[int]
Item = TypeVar("Item")


class _Rendered(NamedTuple):
    parts: Sequence[str | TokenIds]
    by_template: bool


@dataclass(frozen=True)
class ModelTokens:
    """What sizing a request to one model takes. `tokenizer` is a local folder; None: estimate.
    `default_max_output` is what the engine grants a request that asks for no bound; None: the
    context."""

    tokenizer: str | None
    context_length: int
    endpoints: tuple[str, ...]
    default_max_output: int | None = None


class PromptBody(msgspec.Struct, omit_defaults=True):
    """What of a request body makes its prompt, unchecked."""

    messages: Any = None
    tools: Any = None
    chat_template_kwargs: Any = None
    prompt: Any = None
    instructions: Any = None
    input: Any = None


class Prompt(NamedTuple):
    """What the model is given: the text of all its parts, their tokens together, and how many
    prompts they are (a request to /v1/completions may hold several)."""

    text: str
    tokens: int
    prompts: int = 1


class TokenCounter:
    """Counts with the tokenizer in `source`, a local folder; with None, everything is estimated.

    Raises OSError or ValueError where `source` holds no tokenizer.
    """

    def __init__(self, source: Path | str | None) -> None:
        self._tokenizer: Any = None if source is None else load_tokenizer(source)

    def count(self, requests: Sequence[tuple[str, PromptBody]]) -> list[Prompt]:
        """The prompt of each (endpoint, body), in order. Encodes in bounded groups, on all
        cores."""
        rendered = [self._render(endpoint, body) for endpoint, body in requests]
        from_template, plain = (self._lengths(rendered, by_template=by) for by in (True, False))
        prompts = []
        for (_, body), pieces in zip(requests, rendered, strict=True):
            if pieces is None:
                prompts.append(estimate(msgspec.json.encode(body)))
                continue
            lengths = from_template if pieces.by_template else plain
            tokens = sum(next(lengths) if isinstance(p, str) else len(p) for p in pieces.parts)
            text = "\n".join(map(str, pieces.parts))
            prompts.append(Prompt(text, tokens, len(pieces.parts)))
        return prompts

    def _render(self, endpoint: str, body: PromptBody) -> "_Rendered | None":
        """The prompt's parts, or None where it must be estimated."""
        if self._tokenizer is None:
            return None
        if endpoint == "/v1/completions":
            return _plain(body.prompt)
        if endpoint == "/v1/embeddings" and body.messages is None:
            return _plain(body.input)
        options = body.chat_template_kwargs if isinstance(body.chat_template_kwargs, dict) else {}
        try:
            text = self._tokenizer.apply_chat_template(
                [_flat(message) for message in _messages(endpoint, body)],
                tools=body.tools or None,
                # never a template of the customer's: it would be a program run here
                **{**options, **_TEMPLATE_OPTIONS},
            )
        except Exception:
            # The template is the model maker's program, the messages are a stranger's: anything may
            # be raised, and all of it means the same here, that there is no text to count.
            return None
        return _Rendered([text], by_template=True)

    def _lengths(self, rendered: Iterable["_Rendered | None"], *, by_template: bool) -> Iterator[int]:
        """The length of every text of one kind: templates write their own special tokens."""
        wanted = (pieces for pieces in rendered if pieces and pieces.by_template == by_template)
        texts = (part for pieces in wanted for part in pieces.parts if isinstance(part, str))
        for group in grouped(texts, len):
            backend = self._tokenizer.backend_tokenizer
            for encoding in backend.encode_batch_fast(group, add_special_tokens=not by_template):
                yield len(encoding)


def estimate(data: bytes) -> Prompt:
    """A prompt of as many tokens as `data` has bytes, by four."""
    return Prompt(data.decode("utf-8", "replace"), -(-len(data) // BYTES_PER_TOKEN))


def tokenizer_folder(source: str) -> str | None:
    """The local folder with the tokenizer of `source`, a folder or a Hugging Face id that an engine has
    downloaded to this machine before; None where there is none."""
    if Path(source).is_absolute():
        return source if any((Path(source) / name).is_file() for name in _TOKENIZER_FILES) else None
    from huggingface_hub import try_to_load_from_cache  # as late as the tokenizer itself

    found = try_to_load_from_cache(source, "tokenizer_config.json")
    return str(Path(found).parent) if isinstance(found, str) else None


def load_tokenizer(source: Path | str) -> Any:
    """The tokenizer in a local folder, as transformers has it. Raises OSError or ValueError."""
    logger = logging.getLogger("transformers")
    logger.addFilter(lambda record: _NO_TORCH_ADVICE not in record.getMessage())
    # Late on purpose: two seconds and 100 MB that only the process that counts should pay.
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def render_chat(
    tokenizer: Any, messages: list[dict[str, Any]], tools: list[Any] | None, *, open_answer: bool = False
) -> tuple[str, list[tuple[int, int]]]:
    """A conversation by the model's template, and where in that text (start, end) the template says that
    the model speaks, if it says so. `open_answer` ends it where an answer would begin.

    Raises ValueError with the template's own words where it refuses the conversation.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    template = tokenizer.get_chat_template(tools=tools)
    try:
        rendered: Any = render_jinja_template(
            [messages],
            tools=tools,
            chat_template=template,
            return_assistant_tokens_mask=marks_answers(template),
            add_generation_prompt=open_answer,
            **tokenizer.special_tokens_map,
        )
    except Exception as error:
        # As above: the template is a program of the model's maker, and anything may be raised.
        raise ValueError(f"{type(error).__name__}: {error}") from error
    texts, spans = rendered
    return texts[0], spans[0] if spans else []


def marks_answers(template: str) -> bool:
    """Whether a chat template says itself what of its text the model speaks."""
    return _ANSWER_MARK.search(template) is not None


def _plain(value: Any) -> _Rendered | None:
    """A prompt, or a list of prompts, each a text or a list of tokens."""
    if isinstance(value, str) or _is_tokens(value):
        return _Rendered([value], by_template=False)
    if not isinstance(value, list):
        return None
    usable = all(isinstance(item, str) or _is_tokens(item) for item in value)
    return _Rendered(value, by_template=False) if usable else None


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def _messages(endpoint: str, body: PromptBody) -> list[Any]:
    """The conversation a request holds; for /v1/responses, the one it stands for."""
    if endpoint != "/v1/responses":
        return list(body.messages)
    messages = [{"role": "system", "content": body.instructions}] if body.instructions else []
    if isinstance(body.input, str):
        return [*messages, {"role": "user", "content": body.input}]
    return [*messages, *(item for item in body.input if "role" in item)]


def _flat(message: Any) -> Any:
    """The message with its text parts joined as vLLM joins them; other parts have no text."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": "\n".join(part["text"] for part in content if "text" in part)}


def grouped(items: Iterable[Item], characters: Callable[[Item], int]) -> Iterator[list[Item]]:
    """The items in runs of about ENCODED_CHARACTERS_MAX characters, at least one item each."""
    group: list[Item] = []
    size = 0
    for item in items:
        length = characters(item)
        if group and size + length > ENCODED_CHARACTERS_MAX:
            yield group
            group, size = [], 0
        group.append(item)
        size += length
    if group:
        yield group
