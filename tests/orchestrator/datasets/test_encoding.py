from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.datasets.encoding import Encoded, Encoder, marks
from orchestrator.datasets.examples import ChatExample, Example, PairExample, PreferenceExample
from orchestrator.datasets.problems import Fault
from tests.smoke_fixture import smoke_model as smoke_model
from tests.tiny_tokenizer import write_tokenizer

NAMES = ("a", "b", "c", "d")
WORDS = (*NAMES, "system", "user", "assistant", "tool", "end", "+")
NUMBERS = {word: number for number, word in enumerate(WORDS, 2)}

# Each writes "role content end " for a message.
UNMARKED = (
    "{% for m in messages %}{{ m.role + ' ' + m.content + ' end ' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)
MARKED = (  # without the end of the turn, as some models have it
    "{% for m in messages %}{{ m.role + ' ' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}{{ ' end ' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)
MARKED_WITH_END = (
    "{% for m in messages %}{{ m.role + ' ' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + ' end ' }}{% endgeneration %}"
    "{% else %}{{ m.content + ' end ' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)
FORGETS = (  # answers before the last message are written otherwise
    "{% for m in messages %}{{ m.role + ' ' }}"
    "{{ '+ ' if m.role == 'assistant' and loop.last }}{{ m.content + ' end ' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)
REFUSES = UNMARKED + "{{ raise_exception('no system here') if messages[0].role == 'system' }}"

Make = Callable[..., Encoder]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Make:
    made: dict[str, Path] = {}

    def encoder(template: str = UNMARKED, tokens_max: int = 1_000) -> Encoder:
        if template not in made:
            made[template] = write_tokenizer(
                tmp_path_factory.mktemp("tokenizer"), words=WORDS, end="end", chat_template=template
            )
        return Encoder(made[template], tokens_max)

    return encoder


def chat(*turns: str, learn: tuple[bool, ...] | None = None) -> ChatExample:
    """Turns as "role: content"; every answer is learnt unless `learn` says otherwise."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        role, content = turn.split(": ")
        messages.append({"role": role, "content": content})
    return ChatExample(messages, list(learn or [m["role"] == "assistant" for m in messages]))


def only(encoder: Encoder, example: Example) -> Encoded:
    (sequences,) = encoder.encode([example])
    assert isinstance(sequences, list)
    (sequence,) = sequences
    return sequence


def words(sequence: Encoded, *, learnt: bool = False) -> str:
    names = {number: word for word, number in NUMBERS.items()} | {1: "<s>"}
    pairs = zip(sequence.ids, sequence.learn, strict=True)
    return " ".join(names[number] for number, mark in pairs if mark or not learnt)


@pytest.mark.parametrize("template", [UNMARKED, MARKED, MARKED_WITH_END])
def test_an_answer_is_learnt_together_with_the_end_of_its_turn(encoder: Make, template: str):
    sequence = only(encoder(template), chat("system: a", "user: b", "assistant: c d"))
    assert words(sequence) == "system a end user b end assistant c d end"
    assert words(sequence, learnt=True) == "c d end"
    assert sequence.learnt() == 3


@pytest.mark.parametrize("template", [UNMARKED, MARKED, MARKED_WITH_END])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(
    turns=st.lists(
        st.tuples(
            st.sampled_from(["user", "assistant", "assistant", "tool"]),
            st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_learnt_is_what_has_weight(
    encoder: Make, template: str, turns: list[tuple[str, list[str], bool]]
):
    example = chat(
        *(f"{role}: {' '.join(said)}" for role, said, _ in turns),
        learn=tuple(role == "assistant" and weight for role, _, weight in turns),
    )
    expected = [f"{' '.join(said)} end" for role, said, weight in turns if role == "assistant" and weight]
    (found,) = encoder(template).encode([example])
    if not expected:
        assert isinstance(found, Fault)
        return
    assert isinstance(found, list)
    assert words(found[0], learnt=True) == " ".join(expected)


def test_a_template_that_rewrites_answers_teaches_only_the_last(encoder: Make):
    turns = ("user: a", "assistant: b", "user: c", "assistant: d")
    (fault,) = encoder(FORGETS).encode([chat(*turns)])
    assert isinstance(fault, Fault)
    assert (fault.code, fault.path) == ("template_rewrites_history", "$.messages[1]")
    assert "weight 0" in fault.message
    last = only(encoder(FORGETS), chat(*turns, learn=(False, False, False, True)))
    assert words(last) == "user a end assistant b end user c end assistant + d end"
    assert words(last, learnt=True) == "+ d end"


def test_a_template_that_refuses_is_told_in_its_own_words(encoder: Make):
    (fault, fine) = encoder(REFUSES).encode(
        [chat("system: a", "user: b", "assistant: c"), chat("user: b", "assistant: c")]
    )
    assert isinstance(fault, Fault)
    assert fault.code == "template_refused"
    assert "no system here" in fault.message
    assert isinstance(fine, list)


def test_a_pair_begins_and_ends_as_plain_text_does(encoder: Make):
    sequence = only(encoder(), PairExample("a b", " c d"))
    assert words(sequence) == "<s> a b c d end"
    assert words(sequence, learnt=True) == "c d end"


def test_a_token_across_the_border_of_a_pair_is_learnt(encoder: Make):
    assert only(encoder(), PairExample("a b", "x c")).learn == b"\0\0\1\1\1"  # "bx" is one word


def test_a_preference_is_two_sequences_the_preferred_one_first(encoder: Make):
    example = PreferenceExample(chat("user: a", "assistant: b"), chat("user: a", "assistant: c"))
    (sequences,) = encoder().encode([example])
    assert isinstance(sequences, list)
    assert [words(each, learnt=True) for each in sequences] == ["b end", "c end"]


def test_what_is_too_long_is_cut_off_at_its_end(encoder: Make):
    sequence = only(encoder(tokens_max=5), chat("user: a", "assistant: b c d"))
    assert (words(sequence), words(sequence, learnt=True)) == ("user a end assistant b", "b")
    assert sequence.cut
    whole = only(encoder(tokens_max=8), chat("user: a", "assistant: b c d"))
    assert (len(whole.ids), whole.cut) == (8, False)


def test_an_example_whose_answer_is_cut_off_entirely_is_a_problem(encoder: Make):
    (fault,) = encoder(tokens_max=4).encode([chat("user: a", "assistant: b")])
    assert isinstance(fault, Fault)
    assert fault.code == "nothing_to_learn"
    assert "cut to 4 tokens" in fault.message


def test_a_first_token_is_predicted_by_nothing_so_it_is_not_learnt_alone(encoder: Make):
    assert only(encoder(), PairExample("", "a")).learnt() == 2  # <s> stands before it
    (fault,) = encoder(
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    ).encode([chat("assistant: a")])
    assert isinstance(fault, Fault)


def test_many_examples_are_encoded_in_groups_and_stay_in_order(
    encoder: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("orchestrator.models.tokens.ENCODED_CHARACTERS_MAX", 50)
    examples = [chat("user: a", f"assistant: {' '.join(NAMES[: n % 4 + 1])}") for n in range(20)]
    encoded = [sequences[0] for sequences in encoder().encode(examples) if isinstance(sequences, list)]
    assert [sequence.learnt() for sequence in encoded] == [n % 4 + 2 for n in range(20)]


@st.composite
def offsets_and_spans(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Tokens of 1 to 3 characters, some on the same characters, some apart; and spans of 1 to 6 in order."""
    offsets, at = [], 0
    for gap, width, twins in draw(
        st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3), st.integers(1, 2)), max_size=12)
    ):
        at += gap
        offsets += [(at, at + width)] * twins
        at += width
    spans, at = [], 0
    for gap, width in draw(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), max_size=4)):
        spans.append((at + gap, at + gap + width))
        at += gap + width
    return offsets, spans


@given(offsets_and_spans())
def test_a_token_is_marked_where_it_shares_a_character_with_a_span(
    case: tuple[list[tuple[int, int]], list[tuple[int, int]]],
):
    offsets, spans = case
    shares = [any(p < end and start < q for start, end in spans) for p, q in offsets]
    assert list(marks(offsets, spans)) == shares


@pytest.mark.engine
def test_the_smoke_models_marks_are_those_of_the_difference(smoke_model: Path):
    encoder = Encoder(smoke_model, 2_048)
    example = chat(
        "system: be nice é😀", "user: hi", "assistant: one 😀", "user: again", "assistant: thrée",
        learn=(False, False, True, False, True),
    )  # fmt: skip
    by_marks = only(encoder, example)
    encoder._template._marks_answers = False
    assert only(encoder, example) == by_marks
    tokenizer = encoder._template.tokenizer
    said = tokenizer.decode([n for n, mark in zip(by_marks.ids, by_marks.learn, strict=True) if mark])
    assert said == "one 😀<|im_end|>thrée<|im_end|>"
