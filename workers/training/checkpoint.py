"""A folder from which a training goes on as if it had never stopped, and whose adapter can be served.

    <step>/adapter/     the adapter, as PEFT's two files
    <step>/state.pt     optimizer, random numbers, position, and of which training it is

Written beside its place and renamed, so a folder that is there is whole.
"""

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import PeftModel

from workers.training import lora
from workers.training.position import Position
from workers.training.spec import TrainingSpec

ADAPTER = "adapter"
STATE = "state.pt"
# What may change between two attempts at one training. The memory's shape changes results by rounding only.
_MAY_CHANGE = {
    "base", "train", "valid", "folder", "resume_from", "micro_tokens", "gradient_checkpointing", "threads",
    "evaluate_every_steps", "checkpoint_every_seconds", "early_stopping_patience",
}  # fmt: skip


def identity(spec: TrainingSpec) -> str:
    """The same for every attempt at one training: what is trained, on which tokens, and how."""
    kept = {name: getattr(spec, name) for name in spec.__struct_fields__ if name not in _MAY_CHANGE}
    digest = hashlib.sha256(msgspec.json.encode(kept, order="deterministic"))
    with spec.train.open("rb") as tokens:
        digest.update(hashlib.file_digest(tokens, "sha256").digest())
    return digest.hexdigest()


def save(
    folder: Path, model: PeftModel, optimizer: torch.optim.Optimizer, position: Position, *, identity: str
) -> Path:
    """Writes `folder`/<step>, in place of an equal one. Returns it."""
    final = folder / str(position.step)
    making = folder / f".{position.step}.part"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    lora.save(model, making / ADAPTER)
    state: dict[str, Any] = {
        "identity": identity,
        "position": dataclasses.asdict(position),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    torch.save(state, making / STATE)
    shutil.rmtree(final, ignore_errors=True)
    making.rename(final)
    return final


def load(folder: Path, model: PeftModel, optimizer: torch.optim.Optimizer, *, identity: str) -> Position:
    """Puts all of it back. Raises ValueError where `folder` is of another training."""
    state = torch.load(folder / STATE, weights_only=True, map_location="cpu")
    if state["identity"] != identity:
        raise ValueError(f"{folder} is a checkpoint of another training than the spec describes")
    lora.load(model, folder / ADAPTER)
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    if torch.cuda.is_available() and len(state["cuda_random"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda_random"])
    return Position(**state["position"])
