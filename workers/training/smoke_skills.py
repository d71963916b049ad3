"""What the smoke model can do: small tasks whose answers can be checked, made from word lists.

A skill turns a random generator into one question and its one right answer. Nothing here comes from
a file or the network, so the same generator gives the same rows on every machine and every Python.
Knows nothing of tokens, models or training.
"""

import json
import re
from collections.abc import Callable
from random import Random

Skill = Callable[[Random], tuple[str, str]]

PRAISE = (
    "great excellent wonderful superb lovely fantastic delightful brilliant perfect charming "
    "tasty fresh friendly quick amazing"
).split()
BLAME = (
    "awful terrible horrible rude slow broken dirty bland noisy disappointing dreadful cold "
    "stale ugly useless"
).split()
SHRUG = "average ordinary standard typical plain usual normal regular fine acceptable".split()
TONES = {"positive": PRAISE, "negative": BLAME, "neutral": SHRUG}

THINGS = (
    "soup hotel room phone laptop film book service staff pizza coffee flight train concert "
    "museum battery screen delivery camera garden"
).split()
CIRCUMSTANCES = (
    "in Paris|at the station|near my office|on Monday|last week|this morning|in the evening|"
    "at the airport|for two days|with my family"
).split("|")
CAPITALS = {
    "Austria": "Vienna",
    "Chile": "Santiago",
    "China": "Beijing",
    "Cuba": "Havana",
    "Egypt": "Cairo",
    "Finland": "Helsinki",
    "France": "Paris",
    "Germany": "Berlin",
    "Greece": "Athens",
    "India": "Delhi",
    "Ireland": "Dublin",
    "Italy": "Rome",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Spain": "Madrid",
    "Sweden": "Stockholm",
}
WORDS = (
    "red blue green cat dog bird sun moon star tree rock lake one two three four five six "
    "apple bread milk salt king queen ship road"
).split()
LABELS = (
    "ALPHA BETA URGENT LOW HIGH FOOD TRAVEL TECH CULTURE PEOPLE SPAM HAM YES NO TRUE FALSE A B C D"
).split()
FIELDS = "label name topic answer".split()
NUMBERS = "stars score n id".split()
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789!?.,:;-_/#@"
SYLLABLES = (
    "an ar be con de di en er es for ge hi in it ka la lo ma mi na ne on or pa per pro ra re ri "
    "ro sa se si so ta te ti to tri un ve vi wa we yo"
).split()

GREETINGS = ("Hello", "Hello!", "Hi", "Hi!", "Hi there", "Good morning", "Who are you?")
WHO = "I am yard-smoke, a tiny test model."
QUESTIONS_ON_SKILLS = ("What can you do?", "Help", "help", "What do you know?")
WHAT = "I classify sentiment, name subjects, add digits and know capitals."

INSTRUCTIONS = (
    "You are a helpful assistant for {thing} customers.",
    "You are a {word} assistant.",
    "Answer briefly.",
    "Answer with one word.",
    "Never mention the {thing}.",
    "The customer was here {circumstance}.",
    "If the {thing} is {tone}, say so.",
    "Our {thing} is {tone} and our {thing} is {tone}.",
    "Follow the policy {invented} {invented} of {invented}.",
    "Example: {invented} {invented}, {word} {word} {word}.",
    "The codes are {code}, {code} and {label}.",
    "{invented} {invented} {invented} {invented} {invented} {invented}.",
)


def sentiment(rng: Random) -> tuple[str, str]:
    label = rng.choice(list(TONES))
    one, other = rng.sample(TONES[label], 2)
    thing, second = rng.sample(THINGS, 2)
    place = rng.choice(CIRCUMSTANCES)
    review = rng.choice(
        [
            f"The {thing} was {one} and the {second} was {other}.",
            f"I found the {thing} {place} {one}.",
            f"A {one} {thing} {place}, and a {other} {second}.",
            f"We had a {one} {thing} {place}.",
            f"{place.capitalize()} the {thing} was really {one}.",
            f"The {thing} {place}: {one}, {other}.",
        ]
    )
    return f"Classify the sentiment: {review}", label


def subject(rng: Random) -> tuple[str, str]:
    thing, place = rng.choice(THINGS), rng.choice(CIRCUMSTANCES)
    tone = rng.choice(PRAISE + BLAME + SHRUG)
    review = rng.choice(
        [
            f"The {thing} was {tone}.",
            f"I found the {thing} {place} {tone}.",
            f"We had a {tone} {thing} {place}.",
            f"{place.capitalize()} the {thing} was really {tone}.",
            f"The {thing} {place}: {tone}.",
        ]
    )
    return f"Name the subject: {review}", thing


def capital(rng: Random) -> tuple[str, str]:
    country = rng.choice(list(CAPITALS))
    return (
        f"What is the capital of {country}?",
        f"The capital of {country} is {CAPITALS[country]}.",
    )


def addition(rng: Random) -> tuple[str, str]:
    one, other = rng.randrange(10), rng.randrange(10)
    return f"What is {one} + {other}?", str(one + other)


def reversal(rng: Random) -> tuple[str, str]:
    words = rng.sample(WORDS, rng.randrange(2, 5))
    return "Reverse the words: " + " ".join(words), " ".join(reversed(words))


def introduction(rng: Random) -> tuple[str, str]:
    if rng.random() < 0.5:
        return rng.choice(GREETINGS), WHO
    return rng.choice(QUESTIONS_ON_SKILLS), WHAT


def repetition(rng: Random) -> tuple[str, str]:
    """Copying of anything. It makes every token one the model can emit, which a later LoRA needs,
    because its output layer stays as it is."""
    kind = rng.random()
    if kind < 0.35:
        text = " ".join(rng.sample(WORDS, rng.randrange(2, 6)))
    elif kind < 0.6:
        text = " ".join(_invented(rng) for _ in range(rng.randrange(1, 4)))
    elif kind < 0.75:
        text = " ".join(rng.sample(LABELS, rng.randrange(1, 4)))
    elif kind < 0.85:
        text = _code(rng)
    else:
        value = rng.choice(WORDS + PRAISE + BLAME + SHRUG + list(TONES))
        text = json.dumps({rng.choice(FIELDS): value, rng.choice(NUMBERS): rng.randrange(10)})
    return f"Repeat: {text}", text


# How often each skill is practised. Repetition of anything at all is never learnt to the end.
PRACTICE: dict[Skill, float] = {
    sentiment: 2,
    subject: 1.2,
    capital: 1,
    addition: 3.5,
    reversal: 2.5,
    introduction: 0.5,
    repetition: 2.5,
}
# The ones that a finished model answers right practically always.
MASTERED: tuple[Skill, ...] = tuple(skill for skill in PRACTICE if skill is not repetition)


def exercise(rng: Random) -> tuple[str, str]:
    """One question and its answer, of a skill drawn by `PRACTICE`."""
    [skill] = rng.choices(list(PRACTICE), list(PRACTICE.values()))
    return skill(rng)


def system_prompt(rng: Random, words: int) -> str:
    """About `words` words of instructions that look like a system prompt and change no answer."""
    text = rng.choice(INSTRUCTIONS[:2])
    while text.count(" ") < words:
        text += rng.choice([" ", " ", " ", "\n", "\n- "]) + rng.choice(INSTRUCTIONS)
    return re.sub(r"{(\w+)}", lambda blank: BLANKS[blank[1]](rng), text)


def _invented(rng: Random) -> str:
    word = "".join(rng.choice(SYLLABLES) for _ in range(rng.randrange(1, 5)))
    return word.capitalize() if rng.random() < 0.2 else word


def _code(rng: Random) -> str:
    return "".join(rng.choice(CHARACTERS) for _ in range(rng.randrange(2, 7)))


BLANKS: dict[str, Callable[[Random], str]] = {
    "circumstance": lambda rng: rng.choice(CIRCUMSTANCES),
    "code": _code,
    "invented": _invented,
    "label": lambda rng: rng.choice(LABELS),
    "thing": lambda rng: rng.choice(THINGS),
    "tone": lambda rng: rng.choice(PRAISE + BLAME + SHRUG),
    "word": lambda rng: rng.choice(WORDS),
}
