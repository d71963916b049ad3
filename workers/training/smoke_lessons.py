"""The lessons that make the smoke model: which questions in which step, and the exam at the end.

Knows nothing of tokens or torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from workers.training import smoke_skills as skills

SEED = 0
STEPS = 320
ROWS_PER_STEP = 64
CONTEXT_EVERY = 3  # each third step practises behind a system prompt and an earlier turn
CONTEXT_WORDS = (3, 60)  # the length of those prompts, drawn log-uniformly for each step
CONTEXT_WORDS_PER_STEP = 1200
CONTEXT_ROWS_MIN = 4
QUESTION_WORDS = 20  # about what a question adds to its context

EXAM_SEED = 4242
EXAM_ROWS = 100  # for each skill, half of them behind a context
EXAM_CONTEXT_WORDS = 200  # at most: longer than any that was practised


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation up to the question, as OpenAI's messages, and the answer to be given."""

    messages: list[dict[str, str]]
    answer: str


def curriculum() -> Iterator[list[Row]]:
    """The rows of each step: bare questions, and every few steps questions behind a context."""
    rng = Random(SEED)
    for step in range(STEPS):
        if step % CONTEXT_EVERY == CONTEXT_EVERY - 1:
            shortest, longest = CONTEXT_WORDS
            words = round(shortest * (longest / shortest) ** rng.random())
            rows = CONTEXT_WORDS_PER_STEP // (words + QUESTION_WORDS)
            rows = max(CONTEXT_ROWS_MIN, min(ROWS_PER_STEP, rows))
            yield [with_context(rng, skills.exercise(rng), words) for _ in range(rows)]
        else:
            yield [bare(skills.exercise(rng)) for _ in range(ROWS_PER_STEP)]


def exam(skill: skills.Skill) -> list[Row]:
    """Fresh rows of one skill, half of them behind a context."""
    rng = Random(EXAM_SEED)
    rows = [bare(skill(rng)) for _ in range(EXAM_ROWS // 2)]
    rows += [with_context(rng, skill(rng), rng.randrange(EXAM_CONTEXT_WORDS)) for _ in range(EXAM_ROWS // 2)]
    return rows


def bare(exercise: tuple[str, str]) -> Row:
    question, answer = exercise
    return Row([{"role": "user", "content": question}], answer)


def with_context(rng: Random, exercise: tuple[str, str], words: int) -> Row:
    """The exercise behind a system prompt of about `words` words and perhaps an earlier turn."""
    messages = [{"role": "system", "content": skills.system_prompt(rng, words)}]
    if rng.random() < 0.5:
        question, answer = skills.exercise(rng)
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    last = bare(exercise)
    return Row(messages + last.messages, last.answer)
