"""Our trainer beside TRL's packed `SFTTrainer` and a padded `Trainer`: same model, data, LoRA and threads."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from orchestrator.datasets.token_file import TokenFileWriter
from orchestrator.settings import PROJECT, inherited_environment
from tests.benchmarks.table import Table
from workers.training.spec import LoraSettings, TrainingSpec

PYTHON = PROJECT / ".venv-peers" / "bin" / "python"
EXAMPLES, EXAMPLES_QUICK = 96, 16
MEDIAN_TOKENS, SPREAD = 109, 0.95  # of a lognormal: mean 172, most below 900, as chats are
TOKENS_MIN, TOKENS_MAX = 20, 1000
LEARNT_SHARE = 0.43
MICRO_TOKENS = 1024
VOCABULARY = 8192  # of the random model
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Run:
    """One run: `tokens` are real ones, `extra_bytes` its peak above what it held before the first step."""

    seconds: float
    tokens: int
    extra_bytes: int

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def measure(*, quick: bool = False) -> Table:
    """Ours, TRL's, the padded one's, and ours again; of ours the slower counts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run("model", folder / "model")
        lengths = write_tokens(folder / "train.tokens", EXAMPLES_QUICK if quick else EXAMPLES)
        told = _spec(folder)
        first, theirs, padded, second = (_train(kind, told) for kind in ("ours", "trl", "padded", "ours"))
    ours = min(first, second, key=lambda run: run.rate)
    rows = [
        _row("ours (the slower of two runs)", ours, ours),
        _row("TRL `SFTTrainer`, packing `bfd`", theirs, ours),
        _row("`Trainer`, padded, 8 examples a step", padded, ours),
    ]
    return Table(
        f"LoRA training, {len(lengths)} chats",
        ["", "real tokens/s", "peak memory of the steps", "ours is so much faster"],
        rows,
        "A Qwen3-style model of 30 million random weights in bfloat16, LoRA of rank 16 on all linear\n"
        f"layers, {sum(lengths):,} tokens in examples of {min(lengths)} to {max(lengths)} (median "
        f"{int(np.median(lengths))}), 43% of them to be learnt, packs of {MICRO_TOKENS}. Each run is\n"
        "a process of its own; its steps are timed, imports and loading are not. Memory is the peak above\n"
        "what the process held before its first step.",
    )


def _row(name: str, run: Run, ours: Run) -> Sequence[str]:
    return [name, f"{run.rate:,.0f}", f"{run.extra_bytes / MEBIBYTE:,.0f} MiB", f"{ours.rate / run.rate:.2f}"]


def write_tokens(path: Path, examples: int) -> list[int]:
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(np.log(MEDIAN_TOKENS), SPREAD, examples)
    lengths = [int(length) for length in drawn.clip(TOKENS_MIN, TOKENS_MAX)]
    with TokenFileWriter(path) as writer:
        for length in lengths:
            learnt = max(1, int(length * LEARNT_SHARE))
            ids = rng.integers(3, VOCABULARY, length).tolist()
            writer.add(ids, [0] * (length - learnt) + [1] * learnt)
    return lengths


def _spec(folder: Path) -> TrainingSpec:
    return TrainingSpec(
        base=str(folder / "model"),
        base_id="random",
        train=folder / "train.tokens",
        folder=folder / "run",
        seed=0,
        n_epochs=1,
        batch_size=8,
        learning_rate=2e-4,
        warmup_steps=5,
        lora=LoraSettings(r=16, alpha=32),
        micro_tokens=MICRO_TOKENS,
        dtype="bfloat16",
        checkpoint_every_seconds=3600.0,
    )


def _train(kind: str, told: TrainingSpec) -> Run:
    folder = told.folder.with_name(f"run-{kind}-{len(list(told.folder.parent.iterdir()))}")
    path = folder.with_suffix(".json")
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(told, folder=folder), enc_hook=str))
    said = json.loads(_run(kind, path).splitlines()[-1])
    return Run(said["seconds"], int(said["tokens"]), int(said["peak_bytes"] - said["base_bytes"]))


def _run(kind: str, path: Path) -> str:
    done = subprocess.run(
        [str(PYTHON), "-m", "tests.benchmarks.training_runs", kind, str(path)],
        cwd=PROJECT,
        env=inherited_environment() | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
