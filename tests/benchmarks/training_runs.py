"""One training run for the benchmark, in a process of its own: ours, TRL's or a padded Trainer's.

    .venv-peers/bin/python -m tests.benchmarks.training_runs model FOLDER
    .venv-peers/bin/python -m tests.benchmarks.training_runs ours|trl|padded SPEC.json

Prints one line of JSON: `{"seconds": …, "tokens": …, "base_bytes": …, "peak_bytes": …}`. `seconds` are
those of the steps, without imports and loading; `tokens` are real ones; `base_bytes` is what the process
held before them.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM, TrainerCallback

from orchestrator.datasets.token_file import TokenFile
from workers.training import loop, reports, spec

HIDDEN, LAYERS, HEADS, KEY_VALUE_HEADS, INTERMEDIATE, VOCABULARY = 512, 8, 8, 4, 1536, 8192
POSITIONS = 2048
PADDED_ROWS = 8  # a step of the padded Trainer, as many examples as a step of ours
IGNORED = -100


def make_model(folder: Path) -> None:
    """Random weights (30 million): speed and memory do not depend on what they say."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_VALUE_HEADS,
        head_dim=HIDDEN // HEADS,
        intermediate_size=INTERMEDIATE,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def ours(told: spec.TrainingSpec) -> dict[str, float]:
    training = loop.begin(told)
    base = held_bytes()
    steps: list[reports.Step] = []
    loop.run(
        training, lambda report: steps.append(report) if isinstance(report, reports.Step) else None, bool
    )
    return figures(sum(step.seconds for step in steps), steps[-1].trained_tokens, base)


def trl(told: spec.TrainingSpec) -> dict[str, float]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    file = TokenFile(told.train)
    rows = [
        {"input_ids": file[i].ids.tolist(), "completion_mask": file[i].learn.tolist()}
        for i in range(len(file))
    ]
    arguments = SFTConfig(
        **common(told),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
        packing=True,
        packing_strategy="bfd",
        max_length=told.micro_tokens,
        completion_only_loss=True,
        dataset_kwargs={"skip_prepare_dataset": False},
    )
    trainer = SFTTrainer(
        model=base_model(told),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
        peft_config=lora(told),
    )
    return trained(trainer, int(file.lengths.sum()))


def padded(told: spec.TrainingSpec) -> dict[str, float]:
    from peft import get_peft_model
    from transformers import Trainer, TrainingArguments

    file = TokenFile(told.train)
    rows = [
        {"ids": file[i].ids.tolist(), "learn": file[i].learn.tolist()}
        for i in range(len(file) // PADDED_ROWS * PADDED_ROWS)
    ]

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["ids"]) for row in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        labels = torch.full_like(ids, IGNORED)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(batch):
            length = len(row["ids"])
            ids[at, :length] = torch.tensor(row["ids"])
            mask[at, :length] = 1
            marks = torch.tensor(row["learn"], dtype=torch.bool)
            labels[at, :length][marks] = ids[at, :length][marks]
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    arguments = TrainingArguments(
        **common(told), per_device_train_batch_size=PADDED_ROWS, remove_unused_columns=False
    )
    model = get_peft_model(base_model(told), lora(told))
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
    return trained(trainer, sum(len(row["ids"]) for row in rows))


def common(told: spec.TrainingSpec) -> dict[str, object]:
    """What both of the others are told alike."""
    return {
        "output_dir": str(told.folder),
        "num_train_epochs": told.n_epochs,
        "learning_rate": told.learning_rate,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,  # the weights are bfloat16 already
        "gradient_checkpointing": told.gradient_checkpointing,
        "disable_tqdm": True,
        "seed": told.seed,
    }


def base_model(told: spec.TrainingSpec) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(told.base, dtype=getattr(torch, told.dtype))


def lora(told: spec.TrainingSpec) -> object:
    from peft import LoraConfig

    return LoraConfig(
        r=told.lora.r, lora_alpha=told.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def tokenizer() -> object:
    """TRL wants one, even for rows that are tokens."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"<{number}>": number for number in range(VOCABULARY)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<1>")), eos_token="<2>", pad_token="<0>"
    )


class Clock(TrainerCallback):
    """When the first step began, and what the process held then."""

    def __init__(self) -> None:
        self.began, self.base = 0.0, 0

    def on_train_begin(self, *_: object, **__: object) -> None:
        self.began, self.base = time.monotonic(), held_bytes()


def trained(trainer: object, tokens: int) -> dict[str, float]:
    clock = Clock()
    trainer.add_callback(clock)
    trainer.train()
    return figures(time.monotonic() - clock.began, tokens, clock.base)


def figures(seconds: float, tokens: int, base: int) -> dict[str, float]:
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "tokens": tokens, "base_bytes": base, "peak_bytes": peak}


def held_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    what, path = sys.argv[1], Path(sys.argv[2])
    if what == "model":
        make_model(path)
        return
    told = spec.decode(path.read_bytes())
    torch.set_num_threads(told.threads or torch.get_num_threads())
    print(json.dumps({"ours": ours, "trl": trl, "padded": padded}[what](told)))


if __name__ == "__main__":
    main()
