"""Measures how far packed training is from what transformers itself computes, and prints it as JSON.

`python -m tests.workers.training.measure_equivalence MODEL FOLDER`, in the gpu environment. All in fp32.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from orchestrator.datasets.token_file import TokenFile, TokenFileWriter
from workers.training import base, lora
from workers.training.objective import Supervised, learnt_tokens
from workers.training.packing import IGNORED, lay_out, packs
from workers.training.spec import LoraSettings, TrainingSpec

LENGTHS = [5, 40, 64, 65, 150, 700, 23, 2]  # around the model's window of 64, and beyond a block of queries
ALL = range(len(LENGTHS))
VOCABULARY = 1024


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    tokens = random_tokens(folder / "train.tokens")
    spec = TrainingSpec(
        base=str(source),
        base_id="yard-smoke",
        train=folder / "train.tokens",
        folder=folder,
        seed=1,
        n_epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        warmup_steps=0,
        lora=LoraSettings(r=4),
        micro_tokens=4096,
    )
    model = adapted(spec)
    lora.save(model, folder / "adapter")
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager"),
        folder / "adapter",
        is_trainable=True,
    )
    checkpointed = adapted(msgspec.structs.replace(spec, gradient_checkpointing=True))
    whole = step(model, tokens, 4096)
    found = {
        "packed_against_alone": packed_against_alone(model, tokens),
        "leak": leak(model, tokens),
        "against_transformers": against_transformers(plain, tokens, whole),
        "small_packs": difference(whole, step(model, tokens, 100)),
        "gradient_checkpointing": difference(whole, step(checkpointed, tokens, 4096)),
        "files": sorted(path.name for path in (folder / "adapter").iterdir()),
        "saved_base": json.loads((folder / "adapter" / lora.CONFIG).read_text())["base_model_name_or_path"],
    }
    sys.stdout.write(json.dumps(found) + "\n")


def random_tokens(path: Path) -> TokenFile:
    rng = Random(5)
    with TokenFileWriter(path) as writer:
        for length in LENGTHS:
            ids = [rng.randrange(3, VOCABULARY) for _ in range(length)]
            writer.add(ids, [int(rng.random() < 0.6) for _ in ids[1:]] + [1])
    return TokenFile(path)


def adapted(spec: TrainingSpec) -> PeftModel:
    """With an adapter that has learnt something: a fresh one changes nothing, whatever is wrong with it."""
    model = lora.attach(base.load(spec, torch.device("cpu")), spec.lora, base_id=spec.base_id)
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in lora.parameters(model).values():
            parameter.copy_(torch.randn(parameter.shape, generator=noise) * 0.05)
    return model.train()


def step(model: PeftModel, tokens: TokenFile, micro_tokens: int) -> tuple[float, dict[str, Tensor], int]:
    """Loss, gradients and right tokens of one step over all examples."""
    examples = [[number] for number in ALL]
    weight = Supervised().weight(tokens, examples)
    total, right = 0.0, 0
    for pack in packs(tokens, examples, micro_tokens):
        loss = Supervised().loss(model, pack)
        (loss.total / weight).backward()
        total, right = total + loss.total.item(), right + int(loss.right)
    return total / weight, gradients(model), right


def gradients(model: PeftModel) -> dict[str, Tensor]:
    taken = {name: each.grad.clone() for name, each in lora.parameters(model).items()}
    model.zero_grad()
    return taken


def difference(one: tuple[float, dict[str, Tensor], int], other: tuple[float, dict[str, Tensor], int]) -> Any:
    """Absolute of the loss, relative of the gradients' norm, and of right tokens."""
    ours = torch.cat([each.flatten() for each in one[1].values()])
    theirs = torch.cat([other[1][name].flatten() for name in one[1]])
    return {
        "loss": abs(one[0] - other[0]),
        "gradients": float((ours - theirs).norm() / theirs.norm()),
        "right": abs(one[2] - other[2]),
    }


def packed_against_alone(model: PeftModel, tokens: TokenFile) -> float:
    """The largest difference of any token's loss."""
    packed, _, sequences = learnt_tokens(model, lay_out(tokens, list(ALL)))
    return max(
        float((packed[sequences == number] - learnt_tokens(model, lay_out(tokens, [number]))[0]).abs().max())
        for number in ALL
    )


def leak(model: PeftModel, tokens: TokenFile) -> dict[str, float]:
    """The largest difference of a token's loss where one sequence of the pack is another one: inside of that
    sequence, and outside."""
    pack = lay_out(tokens, list(ALL))
    start, end = pack.ends[3], pack.ends[4]
    ids = pack.ids.copy()
    ids[start:end] = VOCABULARY - 1 - ids[start:end]
    before, _, sequences = learnt_tokens(model, pack)
    after, _, _ = learnt_tokens(model, replace(pack, ids=ids))
    change = (before - after).abs()
    return {"inside": float(change[sequences == 4].max()), "outside": float(change[sequences != 4].max())}


def against_transformers(
    plain: PeftModel, tokens: TokenFile, ours: tuple[float, dict[str, Tensor], int]
) -> Any:
    """Its own padding, mask, attention, output layer and loss, with the adapter as plain PEFT loads it."""
    longest = max(LENGTHS)
    ids = torch.zeros(len(LENGTHS), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED)
    for number in ALL:
        sequence = tokens[number]
        own = torch.tensor(sequence.ids.astype("int64"))
        ids[number, : len(own)] = own
        mask[number, : len(own)] = 1
        labels[number, : len(own)] = torch.where(torch.tensor(sequence.learn) == 1, own, IGNORED)
    output = plain.train()(input_ids=ids, attention_mask=mask, labels=labels)
    output.loss.backward()
    guesses, wanted = output.logits[:, :-1].argmax(dim=-1), labels[:, 1:]
    right = int(((guesses == wanted) & (wanted != IGNORED)).sum())
    return difference(ours, (output.loss.item(), gradients(plain), right))


if __name__ == "__main__":
    main()
