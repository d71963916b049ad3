"""What a trainer is told: one JSON file, complete, so that the same file on the same machine gives the
same adapter. Read by the gpu environment, written by the flow: no import but msgspec."""

from pathlib import Path
from typing import Any, Literal

import msgspec


class LoraSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PEFT's names. `target_modules` empty: every linear layer but the head."""

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    use_rslora: bool = False


class TrainingSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One training, from its tokens to its adapter.

    `train` and `valid` are token files (`orchestrator.datasets.token_file`); with `dpo` each example is two
    sequences, the preferred one first. A step takes `batch_size` examples whatever the memory: they are
    packed into micro-batches of at most `micro_tokens` tokens each. `learning_rate` is the peak, after
    `warmup_steps`, then linear to zero at the last step. `folder` is where reports and checkpoints go.
    """

    base: str  # a folder in Hugging Face's format, or a hub id
    base_id: str  # what the yard calls it; written into the adapter's config
    method: Literal["supervised", "dpo"] = "supervised"
    train: Path
    valid: Path | None = None
    folder: Path
    resume_from: Path | None = None  # a checkpoint folder of this same training

    seed: int
    n_epochs: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    beta: float = 0.1  # dpo
    max_grad_norm: float = 1.0
    lora: LoraSettings = LoraSettings()

    micro_tokens: int
    dtype: Literal["float32", "bfloat16"] = "float32"
    quantization: Literal["none", "nf4"] = "none"
    gradient_checkpointing: bool = False
    threads: int | None = None  # of torch on a CPU; None: torch's own choice

    evaluate_every_steps: int | None = None  # besides the end of each epoch
    checkpoint_every_seconds: float = 600.0  # besides the end of each epoch
    early_stopping_patience: int | None = None  # evaluations without a better loss; needs `valid`


def encode(spec: TrainingSpec) -> bytes:
    """As the JSON that `decode` reads."""
    return msgspec.json.encode(spec, enc_hook=str)


def decode(text: bytes) -> TrainingSpec:
    """Raises msgspec.ValidationError, which names the field that is wrong."""
    return msgspec.json.decode(text, type=TrainingSpec, dec_hook=_path)


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)
