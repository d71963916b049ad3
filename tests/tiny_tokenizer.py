"""A tokenizer whose tokens are words, so that a test can count by eye."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for tool in tools or [] %}tool {{ tool.function.name }} {% endfor %}"
    "{% for message in messages %}{{ message.role + ' ' + message.content + ' end ' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
    "{% if shout is defined %} LOUD{% endif %}"
)


def write_tokenizer(
    folder: Path, *, words: Sequence[str] = (), end: str | None = None, chat_template: str = CHAT_TEMPLATE
) -> Path:
    """Write it to `folder`. It begins a text that no template wrote with one special token. It knows `words`,
    from number 2 on, and all others as number 0; `end` is the one that ends a turn."""
    vocabulary = {word: number for number, word in enumerate(["?", "<s>", *words])}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="?"))
    backend.pre_tokenizer = WhitespaceSplit()
    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="?", bos_token="<s>", eos_token=end
    )
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return folder
