"""Measures DPO against a plain computation, trains by it, and prints both as JSON.

`python -m tests.workers.training.measure_preference MODEL FOLDER`, in the gpu environment. In fp32.
"""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from orchestrator.datasets.token_file import TokenFile
from tests.workers.training.measure_behaviour import run, told
from tests.workers.training.measure_equivalence import difference, gradients
from tests.workers.training.token_files import write_preferences
from workers.training import loop, lora
from workers.training.objective import LIKELIHOOD_SHARE
from workers.training.packing import packs
from workers.training.spec import LoraSettings, TrainingSpec

PAIRS = range(8)


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    write_preferences(folder / "train.tokens", source, pairs=96, seed=1)
    write_preferences(folder / "valid.tokens", source, pairs=24, seed=2)
    spec = TrainingSpec(
        base=str(source),
        base_id="yard-smoke",
        method="dpo",
        train=folder / "train.tokens",
        valid=folder / "valid.tokens",
        folder=folder,
        seed=1,
        n_epochs=5,
        batch_size=8,
        learning_rate=1e-3,  # a fifth of the model's own
        warmup_steps=5,
        lora=LoraSettings(r=8),
        micro_tokens=1024,
        threads=1,
    )
    learnt = run(spec, "learning")
    resumed_from = run(spec, "stopped", steps=5)[-1]
    resumed = run(spec, "resumed", resume_from=folder / "stopped" / "checkpoints" / "5")
    found = {
        "learning": told(learnt),
        "stopped_at": msgspec.to_builtins(resumed_from)["step"],
        "resumed": told(resumed),
        "same_adapter": weights(folder / "learning") == weights(folder / "resumed"),
        "preferred": preferred(source, folder / "learning" / "checkpoints" / "60" / "adapter", spec),
        **against_plain(source, folder, spec),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "60" / "adapter" / lora.WEIGHTS).read_bytes()


def plain_model(source: Path, adapter: Path) -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
    return PeftModel.from_pretrained(base, adapter, is_trainable=True)


def log_probability(model: PeftModel, tokens: TokenFile, number: int) -> torch.Tensor:
    """Of each learnt token of one sequence, by transformers alone."""
    sequence = tokens[number]
    ids = torch.tensor(sequence.ids.astype("int64"))[None]
    chances = model(input_ids=ids).logits[0, :-1].log_softmax(dim=-1)
    each = chances.gather(1, ids[0, 1:, None])[:, 0]
    return each[torch.tensor(sequence.learn[1:]) == 1]


def preferred(source: Path, adapter: Path, spec: TrainingSpec) -> Any:
    """Mean log-probability of the preferred answers that were held back, before and after."""
    model, valid = plain_model(source, adapter).eval(), TokenFile(spec.valid)
    chosen = range(0, len(valid), 2)
    with torch.no_grad():
        after = torch.cat([log_probability(model, valid, number) for number in chosen]).mean()
        with model.disable_adapter():
            before = torch.cat([log_probability(model, valid, number) for number in chosen]).mean()
    return {"before": float(before), "after": float(after)}


def against_plain(source: Path, folder: Path, spec: TrainingSpec) -> Any:
    """Pairs packed together, in small packs, and each sequence alone in transformers; with an adapter that
    has learnt something."""
    adapter = folder / "stopped" / "checkpoints" / "5"
    training = loop.begin(msgspec.structs.replace(spec, resume_from=adapter))
    plain = plain_model(source, adapter / "adapter")
    tokens = training.train
    total, right = torch.zeros(()), 0
    for pair in PAIRS:
        chosen, other = (log_probability(plain, tokens, number) for number in (2 * pair, 2 * pair + 1))
        with torch.no_grad(), plain.disable_adapter():
            chosen_base, other_base = (
                log_probability(plain, tokens, number) for number in (2 * pair, 2 * pair + 1)
            )
        margin = spec.beta * (chosen.sum() - chosen_base.sum() - other.sum() + other_base.sum())
        total = total - margin.sigmoid().log() - LIKELIHOOD_SHARE * chosen.mean()
        right += int(margin > 0)
    (total / len(PAIRS)).backward()
    expected = (float(total.detach()) / len(PAIRS), gradients(plain), right)
    whole, small = step(training, 4096), step(training, 60)
    return {
        "against_transformers": difference(whole, expected),
        "small_packs": difference(whole, small),
    }


def step(training: loop.Training, micro_tokens: int) -> Any:
    """Loss, gradients and right pairs of the first pairs."""
    examples = [range(2 * pair, 2 * pair + 2) for pair in PAIRS]
    weight = training.objective.weight(training.train, examples)
    losses = [loop.backward(training, pack, weight) for pack in packs(training.train, examples, micro_tokens)]
    loss = sum(each.total.item() for each in losses) / weight
    return loss, gradients(training.model), sum(int(each.right) for each in losses)


if __name__ == "__main__":
    main()
