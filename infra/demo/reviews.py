"""A task that the smoke model cannot do until it is taught: a review in, a JSON object out."""

import json
from collections.abc import Iterator
from random import Random

from workers.training import smoke_skills as skills

STARS = {"positive": 5, "neutral": 3, "negative": 1}


def reviews(count: int, *, seed: int) -> Iterator[tuple[str, str]]:
    """So many different questions, each with its one right answer; the same for the same seed."""
    rng = Random(seed)
    seen: set[str] = set()
    while len(seen) < count:
        question, tone = skills.sentiment(rng)
        if question not in seen:
            seen.add(question)
            yield question, json.dumps({"label": tone, "stars": STARS[tone]})


def as_dataset(pairs: Iterator[tuple[str, str]]) -> str:
    """The pairs as chats to learn from, one a line."""
    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ]
            }
        )
        + "\n"
        for question, answer in pairs
    )
