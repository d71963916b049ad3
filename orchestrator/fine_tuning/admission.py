"""Whether a fine-tuning job may be created: what its parameters must be, and what the tier allows just
now."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from orchestrator import metadata
from orchestrator.adapters.names import check_suffix
from orchestrator.entitlements import checks
from orchestrator.entitlements.tiers import Tier, Tiers
from orchestrator.errors import Invalid, NotFound
from orchestrator.files import service as files
from orchestrator.files.model import File, Purpose
from orchestrator.fine_tuning.model import FineTuningJob, Method
from orchestrator.fine_tuning.requested import check as check_requested
from orchestrator.fine_tuning.states import FINAL
from orchestrator.models.registry import LoraSpec, ModelSpec, Registry

SEED_MAX = 2**31 - 1
FINE_TUNED = "ft:"  # how the names of our own adapters begin


@dataclass(frozen=True)
class NewFineTuning:
    """What a customer asks for, in the wire's own shapes: `method` is `{"type": "supervised", "supervised":
    {"hyperparameters": {…}, "lora": {…}, …}}`, and `hyperparameters` their older place beside it."""

    model: str
    training_file: str
    validation_file: str | None = None
    method: Mapping[str, Any] | None = None
    hyperparameters: Mapping[str, Any] | None = None
    suffix: str | None = None
    seed: int | None = None
    metadata: Mapping[str, str] | None = None
    integrations: Sequence[Mapping[str, Any]] | None = None

    def digest(self) -> str:
        """The same for the same parameters, whatever their order."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Admitted:
    """What the request means. `requested` is what stands below the method's name, as in `requested.py`: the
    keys that were given and no others."""

    spec: ModelSpec
    lora: LoraSpec
    method: Method
    requested: dict[str, Any]
    training_file: File
    validation_file: File | None


def admit(
    tx: Session, new: NewFineTuning, *, organization_id: str, tier: Tier, tiers: Tiers, registry: Registry
) -> Admitted:
    """Read a request, its files locked against deletion. Raises NotEntitled where the tier has no
    fine-tuning or not this model, Invalid for every parameter that is not as it must be."""
    checks.require(checks.fine_tuning_allowed(tiers, tier, model=new.model))
    spec, lora = _base_model(new.model, tier, tiers, registry.seen_by(organization_id))
    method, requested = method_of(new)
    check_requested(requested, method, spec, has_validation_file=new.validation_file is not None)
    _check_the_rest(new)
    training = _dataset(tx, organization_id, new.training_file, param="training_file")
    validation = None
    if new.validation_file is not None:
        validation = _dataset(tx, organization_id, new.validation_file, param="validation_file")
    return Admitted(spec, lora, method, requested, training, validation)


def check_limits(
    tx: Session, *, organization_id: str, tier: Tier, tiers: Tiers, project_id: str | None = None
) -> None:
    """Raise QuotaExceeded where the tier does not allow one more job now, of the organization or of one
    project. Hold the organization's row: two jobs that are checked at once could both be the last."""
    live = live_jobs(tx, organization_id=organization_id, project_id=project_id)
    checks.require(checks.concurrent_fine_tuning(tiers, tier, used=live))


def live_jobs(tx: Session, *, organization_id: str, project_id: str | None = None) -> int:
    """Jobs that have not ended, of the organization or of one project."""
    theirs = [
        col(FineTuningJob.organization_id) == organization_id,
        col(FineTuningJob.status).not_in(FINAL),
    ]
    if project_id is not None:
        theirs.append(col(FineTuningJob.project_id) == project_id)
    return tx.exec(select(func.count()).select_from(FineTuningJob).where(*theirs)).one()


def method_of(new: NewFineTuning) -> tuple[Method, dict[str, Any]]:
    """The method, and what is requested of it. Raises Invalid."""
    given = new.method or {"type": Method.SUPERVISED.value}
    name = given.get("type")
    if name not in list(Method):
        why = "Reinforcement is not supported here. " if name == "reinforcement" else ""
        raise Invalid(
            f"Invalid value: {str(name)[:64]!r}. {why}Supported values are: "
            + ", ".join(f"'{method}'" for method in Method)
            + ".",
            param="method.type",
        )
    method = Method(name)
    if strange := set(given) - {"type", method}:
        raise Invalid(
            f"Unknown parameter: 'method.{min(map(str, strange))[:64]}'. A method of type '{method}' has "
            f"'type' and '{method}'.",
            code="unknown_parameter",
            param="method",
        )
    requested = dict(given.get(method) or {})
    if new.hyperparameters:
        if requested.get("hyperparameters") not in (None, {}, new.hyperparameters):
            raise Invalid(
                f"Hyperparameters are given twice, and differ. Keep 'method.{method}.hyperparameters' and "
                "leave out 'hyperparameters'.",
                param="hyperparameters",
            )
        requested["hyperparameters"] = dict(new.hyperparameters)
    return method, requested


def _base_model(name: str, tier: Tier, tiers: Tiers, registry: Registry) -> tuple[ModelSpec, LoraSpec]:
    spec = registry.get(name)
    if spec is not None and spec.lora is not None:
        checks.require(checks.model_permitted(tiers, tier, name, param="model"))
        return spec, spec.lora
    trainable = [known.id for known in registry.all() if known.lora and tier.permits(known.id)]
    those = f"Models that can be: {', '.join(trainable)}." if trainable else "No model of yours can be."
    if name.startswith(FINE_TUNED):
        raise Invalid(
            f"The model '{name[:256]}' is itself fine-tuned, and training goes on from base models only. "
            f"Train its base model on both datasets together instead. {those}",
            code="model_not_supported",
            param="model",
        )
    fault = "cannot be fine-tuned here" if spec else "does not exist"
    raise Invalid(
        f"The model '{name[:256]}' {fault}. {those}",
        code="model_not_supported" if spec else "model_not_found",
        param="model",
    )


def _check_the_rest(new: NewFineTuning) -> None:
    if new.suffix is not None:
        check_suffix(new.suffix)
    if new.seed is not None and not 0 <= new.seed <= SEED_MAX:
        raise Invalid(
            f"Invalid value: {new.seed}. Expected a whole number from 0 to {SEED_MAX}.", param="seed"
        )
    metadata.check(new.metadata or {})
    if new.integrations:
        raise Invalid(
            "Integrations are not supported: a job reports to nobody outside this yard. Leave "
            "'integrations' out; a job's events have the metrics of every step, and its result file has "
            "them as CSV, which Weights & Biases can import.",
            param="integrations",
        )


def _dataset(tx: Session, organization_id: str, file_id: str, *, param: str) -> File:
    """A dataset's file, locked against deletion until the job is there."""
    try:
        file = files.get(tx, organization_id=organization_id, file_id=file_id, lock=True)
    except NotFound:
        raise Invalid(
            f"The file {file_id[:64]} does not exist, was deleted or has expired, or your organization does "
            "not have access to it.",
            param=param,
        ) from None
    if file.purpose is not Purpose.FINE_TUNE:
        raise Invalid(
            f"File {file.id} has purpose '{file.purpose}'; a dataset needs purpose 'fine-tune'. Upload it "
            "again with that.",
            param=param,
        )
    if file.bytes == 0:
        raise Invalid(f"File {file.id} is empty.", param=param)
    return file
