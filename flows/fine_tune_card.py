"""The card of what a fine-tuning job has made: enough to do the same training again."""

from collections.abc import Mapping
from typing import Any

from flows.fine_tune_run import FineTuneRun
from orchestrator.adapters import card as cards
from orchestrator.files.model import File


def card(run: FineTuneRun, *, step: int, trained_tokens: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The job's card after `step` steps."""
    job = run.job
    datasets = {"training_file": _fingerprint(run.training_file)}
    if run.validation_file is not None:
        datasets["validation_file"] = _fingerprint(run.validation_file)
    return cards.trained(
        base_model=job.base_model,
        method=job.method,
        lora=job.lora or {},
        hyperparameters=job.hyperparameters or {},
        seed=job.seed,
        datasets=datasets,
        step=step,
        trained_tokens=trained_tokens,
        metrics=metrics,
        versions=run.versions,
        job_id=job.id,
    )


def _fingerprint(file: File) -> dict[str, Any]:
    return {"id": file.id, "sha256": file.sha256, "bytes": file.bytes}
