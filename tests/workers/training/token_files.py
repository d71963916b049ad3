"""Datasets for the smoke model as token files: reviews, answered by JSON, which it has never written."""

import json
from pathlib import Path
from random import Random

from tokenizers import Tokenizer

from orchestrator.datasets.token_file import TokenFileWriter
from workers.training.smoke_skills import TONES, sentiment


def write_reviews(path: Path, model: Path, *, examples: int, seed: int, true: bool = True) -> None:
    """The answers' tokens are to be learnt, their end included. Unless `true`, each answer is a wrong one."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    rng = Random(seed)
    with TokenFileWriter(path) as writer:
        for _ in range(examples):
            question, tone = sentiment(rng)
            if not true:
                tone = rng.choice([other for other in TONES if other != tone])
            _add(writer, tokenizer, question, json.dumps({"label": tone}))


def write_preferences(path: Path, model: Path, *, pairs: int, seed: int) -> None:
    """Of each pair JSON is preferred to the plain word, with which the model answers of itself."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    rng = Random(seed)
    with TokenFileWriter(path) as writer:
        for _ in range(pairs):
            question, tone = sentiment(rng)
            _add(writer, tokenizer, question, json.dumps({"label": tone}))
            _add(writer, tokenizer, question, tone)


def _add(writer: TokenFileWriter, tokenizer: Tokenizer, question: str, answer: str) -> None:
    prompt = tokenizer.encode(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n").ids
    learnt = tokenizer.encode(f"{answer}<|im_end|>").ids
    writer.add(prompt + learnt, [0] * len(prompt) + [1] * len(learnt))
