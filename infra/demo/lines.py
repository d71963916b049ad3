"""The lines of the demo's batch: questions that the smoke model answers, and some bad requests.

Most come in groups that share a long system prompt, as a nightly classification does: the yard
sends such lines together, and the engine computes the prompt once.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from workers.training import smoke_skills as skills

MODEL = "yard-smoke"
ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
SKILLS = (skills.sentiment, skills.capital, skills.addition, skills.reversal)
GROUPS = 6
PROMPT_WORDS = 120
ANSWER_TOKENS_MAX = 24

# What is wrong with a body, and what to change in a good one to make it so.
REFUSED: Sequence[tuple[str, dict[str, Any]]] = (
    ("temperature", {"temperature": -1.0}),
    ("top-p", {"top_p": 7.5}),
    ("max-tokens", {"max_tokens": 1_000_000}),
    ("no-messages", {"messages": []}),
)


@dataclass(frozen=True)
class DemoLine:
    """One request. `answer` is the right one, or None where the request must be refused."""

    custom_id: str
    question: str
    body: dict[str, Any]
    answer: str | None

    def to_json(self) -> str:
        """The line as it stands in the file."""
        return json.dumps({"custom_id": self.custom_id, "method": "POST", "url": ENDPOINT, "body": self.body})


def demo_lines(*, good: int, bad: int, seed: int = 7) -> list[DemoLine]:
    """`good` lines with right answers and `bad` ones in between, the same for the same seed."""
    rng = Random(seed)
    lines = [*_good(rng, good), *_bad(rng, bad)]
    rng.shuffle(lines)
    return lines


def _good(rng: Random, count: int) -> Iterator[DemoLine]:
    prompts = [None, *(skills.system_prompt(rng, PROMPT_WORDS) for _ in range(GROUPS))]
    for number in range(count):
        skill = SKILLS[number % len(SKILLS)]
        question, answer = skill(rng)
        prompt = prompts[number % len(prompts)]
        system = [] if prompt is None else [{"role": "system", "content": prompt}]
        body = _body([*system, {"role": "user", "content": question}])
        yield DemoLine(f"{skill.__name__}-{number:04d}", question, body, answer)


def _bad(rng: Random, count: int) -> Iterator[DemoLine]:
    for number in range(count):
        what, change = REFUSED[number % len(REFUSED)]
        question, _ = skills.capital(rng)
        body = _body([{"role": "user", "content": question}]) | change
        yield DemoLine(f"refused-{what}-{number:04d}", question, body, None)


def _body(messages: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": messages,
        "max_tokens": ANSWER_TOKENS_MAX,
        "temperature": 0,
    }
