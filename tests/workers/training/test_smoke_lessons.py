"""The lessons of the smoke model, without the model."""

from random import Random

import pytest

from workers.training import smoke_lessons as lessons
from workers.training import smoke_skills as skills


def test_lessons_are_the_same_every_time() -> None:
    first, second = list(lessons.curriculum()), list(lessons.curriculum())
    assert first == second
    assert len(first) == lessons.STEPS


def test_every_third_step_practises_behind_a_system_prompt() -> None:
    first_roles = [rows[0].messages[0]["role"] for rows in lessons.curriculum()]
    assert first_roles[:6] == ["user", "user", "system", "user", "user", "system"]


@pytest.mark.parametrize("words", [1, 50, 300])
def test_a_system_prompt_is_as_long_as_asked_and_has_no_blanks_left(words: int) -> None:
    prompt = skills.system_prompt(Random(words), words)
    assert words <= prompt.count(" ") <= words + 20
    assert not {"{thing}", "{word}", "{invented}", "{tone}"} & set(prompt.split())


@pytest.mark.parametrize("skill", skills.PRACTICE, ids=lambda skill: skill.__name__)
def test_a_skill_has_one_answer_to_a_question(skill: skills.Skill) -> None:
    rng = Random(3)
    answers: dict[str, str] = {}
    for _ in range(500):
        question, answer = skill(rng)
        assert answers.setdefault(question, answer) == answer
        assert answer == answer.strip() != ""


def test_the_exam_half_of_it_behind_a_context_ends_in_a_question() -> None:
    rows = lessons.exam(skills.capital)
    assert len(rows) == lessons.EXAM_ROWS
    assert sum(row.messages[0]["role"] == "system" for row in rows) == lessons.EXAM_ROWS // 2
    assert all(row.messages[-1]["content"].startswith("What is the capital of") for row in rows)
