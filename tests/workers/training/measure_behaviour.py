"""Trains a few small adapters one after the other and prints what became of each as JSON.

`python -m tests.workers.training.measure_behaviour MODEL FOLDER`, in the gpu environment.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from tests.workers.training.token_files import write_reviews
from workers.training import loop, reports, trainer
from workers.training.objective import Supervised
from workers.training.spec import LoraSettings, TrainingSpec


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    write_reviews(folder / "train.tokens", source, examples=96, seed=1)
    write_reviews(folder / "valid.tokens", source, examples=24, seed=2)
    write_reviews(folder / "lies.tokens", source, examples=24, seed=3, true=False)
    spec = TrainingSpec(
        base=str(source),
        base_id="yard-smoke",
        train=folder / "train.tokens",
        valid=folder / "valid.tokens",
        folder=folder,
        seed=1,
        n_epochs=5,
        batch_size=8,
        learning_rate=5e-3,
        warmup_steps=5,
        lora=LoraSettings(r=8, dropout=0.1),
        micro_tokens=1024,
        threads=1,
    )
    found = {
        "learning": told(run(spec, "learning", evaluate_every_steps=5)),
        "early": told(
            run(
                spec, "early", valid=folder / "lies.tokens", evaluate_every_steps=2, early_stopping_patience=3
            )
        ),
        "unstable": told(run(spec, "unstable", learning_rate=1e30, max_grad_norm=1e30)),
        "half": half(spec),
        "quantized": told(run(spec, "quantized", quantization="nf4")),
        "other": told(run(spec, "other", seed=2, resume_from=folder / "learning" / "checkpoints" / "60"))[
            -1:
        ],
        "no_model": told(run(spec, "no_model", base=str(folder)))[-1:],
        "out_of_memory": out_of_memory(spec),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def run(spec: TrainingSpec, name: str, *, steps: int | None = None, **changes: Any) -> list[reports.Report]:
    """Its reports; stopped after `steps`."""
    told: list[reports.Report] = []
    stopping: Callable[[], bool] = lambda: any(  # noqa: E731
        isinstance(report, reports.Step) and report.step == steps for report in told
    )
    changed = msgspec.structs.replace(spec, folder=spec.folder / name, **changes)
    try:
        loop.run(loop.begin(changed), told.append, stopping)
    except Exception as error:
        told.append(trainer.failure(error))
    return told


def half(spec: TrainingSpec) -> Any:
    """In bfloat16: a training as a whole, and one that is stopped after step 5 and goes on."""
    brief = msgspec.structs.replace(spec, dtype="bfloat16", n_epochs=1)
    whole = run(brief, "half_whole")
    stopped = run(brief, "half_stopped", steps=5)
    resumed = run(brief, "half_resumed", resume_from=spec.folder / "half_stopped" / "checkpoints" / "5")
    return {"whole": told(whole), "stopped": told(stopped), "resumed": told(resumed)}


def out_of_memory(spec: TrainingSpec) -> Any:
    """What is said where torch, on a GPU or here, has no memory left."""
    actual = Supervised.loss
    try:
        return [
            _without_memory(spec, error) for error in (torch.OutOfMemoryError("CUDA out of memory"), None)
        ]
    finally:
        Supervised.loss = actual


def _without_memory(spec: TrainingSpec, error: Exception | None) -> Any:
    def loss(*_: Any) -> Any:
        if error is not None:
            raise error
        return torch.empty(1 << 60)

    Supervised.loss = loss
    return told(run(spec, "memory"))[-1]


def told(said: list[reports.Report]) -> Any:
    return msgspec.to_builtins(said)


if __name__ == "__main__":
    main()
