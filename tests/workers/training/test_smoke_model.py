"""The smoke model as it is on disk: its chat template here, its answers in the gpu environment."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from orchestrator.settings import PROJECT, Settings

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

QUESTION = {"role": "user", "content": "What is 3 + 4?"}

EXAMINE = """
import json, sys
from random import Random
from transformers import AutoTokenizer, Qwen3ForCausalLM
from workers.training import smoke_lessons as lessons, smoke_skills as skills
from workers.training.smoke_model import accuracy

model = Qwen3ForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
rng = Random(77)
shares = {}
for skill in skills.MASTERED:
    bare = [lessons.bare(skill(rng)) for _ in range(40)]
    behind = [lessons.with_context(rng, skill(rng), words=250) for _ in range(20)]
    shares[skill.__name__] = [accuracy(model, tokenizer, rows) for rows in (bare, behind)]
print(json.dumps(shares))
"""


def test_it_answers_its_skills_behind_long_system_prompts_too(smoke_model: Path) -> None:
    """On fresh questions; system prompts of 250 words are four times what it has practised."""
    examined = subprocess.run(
        [Settings().gpu_interpreter(), "-c", EXAMINE, smoke_model],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert examined.returncode == 0, examined.stderr
    shares: dict[str, list[float]] = json.loads(examined.stdout)
    assert shares.keys() >= {"sentiment", "capital", "addition", "reversal"}
    for skill, (bare, behind) in shares.items():
        assert bare >= 0.95, f"{skill}: {bare}"
        assert behind >= 0.9, f"{skill} behind a system prompt: {behind}"


def test_nothing_is_made_twice(smoke_model: Path) -> None:
    made_at = (smoke_model / "config.json").stat().st_mtime_ns
    again = subprocess.run(
        [Settings().gpu_interpreter(), "-m", "workers.training.smoke_model", smoke_model],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout == f"{smoke_model} is already there\n"
    assert (smoke_model / "config.json").stat().st_mtime_ns == made_at


@pytest.mark.parametrize(
    "content",
    ["What is 3 + 4?", [{"type": "text", "text": "What is "}, {"type": "text", "text": "3 + 4?"}]],
)
def test_its_template_takes_text_and_lists_of_text_alike(smoke_model: Path, content: Any) -> None:
    rendered = _rendered(smoke_model, [{"role": "user", "content": content}])
    assert rendered == "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n"


def test_its_template_takes_any_role_and_messages_without_content(smoke_model: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": []}
    rendered = _rendered(
        smoke_model,
        [{"role": "developer", "content": "Be brief."}, QUESTION, call, {"role": "tool", "content": "7"}],
    )
    assert "<|im_start|>developer\nBe brief.<|im_end|>\n" in rendered
    assert "<|im_start|>assistant\n<|im_end|>\n<|im_start|>tool\n7<|im_end|>\n" in rendered


def test_its_template_marks_what_the_assistant_said(smoke_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smoke_model)
    encoded = tokenizer.apply_chat_template(
        [QUESTION, {"role": "assistant", "content": "7"}],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    marked = [
        token for token, own in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if own
    ]
    assert tokenizer.decode(marked) == "7<|im_end|>"


def _rendered(folder: Path, messages: list[dict[str, Any]]) -> str:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text
