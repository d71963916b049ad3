"""Makes the smoke model: a real chat model (0.65 million parameters) from nothing, offline.

    python -m workers.training.smoke_model OUT

Run by the gpu environment's interpreter; one to two minutes on one thread. OUT becomes a standard
Hugging Face folder (config, safetensors, tokenizer, chat template) that vLLM serves like any other
model. It appears whole or not at all; if it is there already nothing is done. Standard output
carries a line every few steps, `step 120/320, loss 0.412, 23 s left`, and at the end one for each
skill, `accuracy of sentiment: 100.0%`.

The recipe is deterministic: the same libraries on the same kind of processor give the same bytes.
Muon for the matrices is what makes a minute enough; AdamW alone leaves half of the skills unlearnt.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils.logging import disable_progress_bar

from workers.training import smoke_lessons as lessons
from workers.training import smoke_skills as skills
from workers.training.smoke_lessons import Row
from workers.training.smoke_muon import Muon

SEED = 0  # of the weights
VOCABULARY = 1024
POSITIONS = 2048  # tokens of prompt and answer together
HIDDEN, LAYERS, HEADS, KEY_VALUE_HEADS, INTERMEDIATE = 128, 3, 4, 2, 320
# A question and its answer fit in the window, so a system prompt of any length changes no answer.
# With full attention a model of this size drowns in a few hundred tokens of context.
WINDOW = 64

WARMUP_STEPS = 20
MUON_RATE, ADAM_RATE = 0.03, 5e-3
STEPS_PER_REPORT = 10

EXAM_BATCH = 50
REQUIRED_ACCURACY = 0.95  # for every skill in `smoke_skills.MASTERED`
ANSWER_TOKENS = 28
IGNORED = -100  # a target that cross-entropy skips

# ChatML. Content may be a string, a list of text parts, or absent; any role is rendered alike. The
# `generation` marks tell a trainer which tokens are the assistant's own.
CHAT_TEMPLATE = """\
{%- macro text(content) -%}
  {%- if content is string -%}{{- content -}}
  {%- else -%}{%- for part in content or [] -%}{{- part.text or '' -}}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
  {{- '<|im_start|>' + message.role + '\n' -}}
  {%- if message.role == 'assistant' -%}
    {%- generation -%}{{- text(message.content) + '<|im_end|>' -}}{%- endgeneration -%}
  {%- else -%}
    {{- text(message.content) + '<|im_end|>' -}}
  {%- endif -%}
  {{- '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One row as token ids."""

    prompt: list[int]
    answer: list[int]  # ends with the end-of-turn token, so that the model learns to stop


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m workers.training.smoke_model OUT")
    out = Path(sys.argv[1])
    if out.exists():
        print(f"{out} is already there")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / out.name
        build(made)
        try:
            made.rename(out)
        except OSError:
            if not out.exists():  # else another builder was faster; its model is the same
                raise
    print(f"made {out}")


def build(folder: Path) -> None:
    """Trains the model, writes it to `folder` and measures it.

    Raises RuntimeError if a skill is not mastered: one that answers wrong is worse than none."""
    disable_progress_bar()  # ours says more
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    steps = list(lessons.curriculum())
    tokenizer = new_tokenizer(steps)
    model = new_model(tokenizer)
    train(model, [tokenized(tokenizer, rows) for rows in steps], padding=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for skill in skills.PRACTICE:
        share = accuracy(model, tokenizer, lessons.exam(skill))
        print(f"accuracy of {skill.__name__}: {share:.1%}", flush=True)
        if skill in skills.MASTERED and share < REQUIRED_ACCURACY:
            raise RuntimeError(
                f"The smoke model answers {share:.1%} of {skill.__name__} right, which should be "
                f"{REQUIRED_ACCURACY:.0%} at least. Is torch {torch.__version__} the locked one?"
            )


def new_tokenizer(steps: Sequence[Sequence[Row]]) -> PreTrainedTokenizerFast:
    """A byte-level BPE learnt from the lessons: any text can be written, theirs is short."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        (
            f"{message['role']}\n{message['content']}"
            for rows in steps
            for row in rows
            for message in [*row.messages, {"role": "assistant", "content": row.answer}]
        ),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=POSITIONS,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def new_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_VALUE_HEADS,
        head_dim=HIDDEN // HEADS,
        intermediate_size=INTERMEDIATE,
        max_position_embeddings=POSITIONS,
        use_sliding_window=True,
        sliding_window=WINDOW,
        max_window_layers=0,  # the number of layers, from the first, that look at everything
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.float32,
    )
    return Qwen3ForCausalLM(config)


def prompts(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row]) -> list[list[int]]:
    """Each row's conversation as token ids, up to where the assistant speaks."""
    texts = [
        tokenizer.apply_chat_template(row.messages, tokenize=False, add_generation_prompt=True)
        for row in rows
    ]
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


def tokenized(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row]) -> list[Tokens]:
    answers = tokenizer([row.answer + tokenizer.eos_token for row in rows])["input_ids"]
    return [Tokens(prompt, answer) for prompt, answer in zip(prompts(tokenizer, rows), answers, strict=True)]


def train(model: Qwen3ForCausalLM, steps: Sequence[Sequence[Tokens]], *, padding: int) -> None:
    """One optimizer step for each; the rates rise, stay, and fall to zero over the second half."""
    model.train()
    optimizers = new_optimizers(model)
    began = time.monotonic()
    for step, rows in enumerate(steps):
        share = min(1.0, (step + 1) / WARMUP_STEPS, 2 * (len(steps) - step) / len(steps))
        loss = answer_loss(model, rows, padding=padding)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()
        model.zero_grad(set_to_none=True)
        done = step + 1
        if done % STEPS_PER_REPORT == 0 or done == len(steps):
            left = (time.monotonic() - began) / done * (len(steps) - done)
            print(f"step {done}/{len(steps)}, loss {loss.item():.3f}, {left:.0f} s left", flush=True)


def new_optimizers(model: Qwen3ForCausalLM) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices, AdamW for the embedding and the norms, each with its full rate."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2 and "embed" not in name
        (matrices if is_matrix else others).append(parameter)
    muon = Muon(matrices, MUON_RATE)
    adam = torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    return [(muon, MUON_RATE), (adam, ADAM_RATE)]


def answer_loss(model: Qwen3ForCausalLM, rows: Sequence[Tokens], *, padding: int) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens.

    Rows are padded on the right, where causal attention never looks, so no padding mask is needed
    and attention stays on its fast path; the output layer runs on the answers' tokens only."""
    width = max(len(row.prompt) + len(row.answer) for row in rows)
    inputs = torch.full((len(rows), width), padding)
    targets = torch.full((len(rows), width), IGNORED)
    for place, row in enumerate(rows):
        start, end = len(row.prompt), len(row.prompt) + len(row.answer)
        inputs[place, :end] = torch.tensor(row.prompt + row.answer)
        targets[place, start - 1 : end - 1] = torch.tensor(row.answer)  # predicted one token before
    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state
    answered = targets != IGNORED
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[answered]), targets[answered])


def accuracy(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row]) -> float:
    """The share of rows that the model answers word for word, decoding greedily."""
    model.eval()
    tokenizer.padding_side = "left"
    right = 0
    # Alike lengths together: less padding, less time.
    pairs = sorted(zip(prompts(tokenizer, rows), rows, strict=True), key=lambda pair: len(pair[0]))
    for first in range(0, len(pairs), EXAM_BATCH):
        batch = pairs[first : first + EXAM_BATCH]
        padded = tokenizer.pad({"input_ids": [ids for ids, _ in batch]}, return_tensors="pt")
        with torch.inference_mode():
            answers = model.generate(**padded, max_new_tokens=ANSWER_TOKENS, do_sample=False)
        spoken = tokenizer.batch_decode(answers[:, padded["input_ids"].shape[1] :], skip_special_tokens=True)
        right += sum(text == row.answer for text, (_, row) in zip(spoken, batch, strict=True))
    return right / len(rows)


if __name__ == "__main__":
    main()
