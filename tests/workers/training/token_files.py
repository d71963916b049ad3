"""A dataset for the smoke model as a token file: reviews, answered by JSON, which it has never written."""

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
            prompt = tokenizer.encode(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n").ids
            answer = tokenizer.encode(json.dumps({"label": tone}) + "<|im_end|>").ids
            writer.add(prompt + answer, [0] * len(prompt) + [1] * len(answer))
