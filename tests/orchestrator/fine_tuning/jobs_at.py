"""Fine-tuning jobs at each point of their lives, brought there by the verbs themselves."""

from decimal import Decimal
from typing import Any

from sqlmodel import Session, select

from orchestrator.adapters.store import StoredAdapter
from orchestrator.database.session import Database
from orchestrator.entitlements.tiers import Tiers
from orchestrator.files.model import Purpose
from orchestrator.fine_tuning import progress, service
from orchestrator.fine_tuning.admission import NewFineTuning
from orchestrator.fine_tuning.checkpoints import StoredCheckpoint
from orchestrator.fine_tuning.events import StepMetrics
from orchestrator.fine_tuning.model import FineTuningEvent, FineTuningJob
from orchestrator.fine_tuning.progress import FineTuningLease
from orchestrator.fine_tuning.results import ResultFile
from orchestrator.jobs import service as jobs
from orchestrator.jobs.model import Job, JobKind
from orchestrator.models.registry import LoraSpec, ModelSpec, Registry
from orchestrator.organizations.model import Project
from orchestrator.organizations.principal import Principal
from orchestrator.storage.store import Stored
from tests.factories import make_file, make_principal

MODEL = "yard-smoke"
TIERS = Tiers.load()
PRICE_MICROS = 60_000  # of a whole training: 30,000 tokens at two dollars for a million


def a_model(name: str = MODEL, *, lora: bool = True) -> ModelSpec:
    """Two dollars for a million trained tokens."""
    prices = {name: Decimal(1) for name in ("input_price", "cached_input_price", "output_price")}
    return ModelSpec(
        id=name,
        source="/models/x",
        context_length=2048,
        endpoints=("/v1/chat/completions",),
        lora=LoraSpec(training_price=Decimal(2)) if lora else None,
        **prices,
    )


REGISTRY = Registry((a_model(), a_model("frozen", lora=False)))


def dataset(tx: Session, principal: Principal, **columns: Any) -> str:
    """A file for training, and its id."""
    project = tx.get_one(Project, principal.project_id)
    return make_file(tx, project=project, **{"purpose": Purpose.FINE_TUNE} | columns).id


def create(
    tx: Session,
    principal: Principal,
    *,
    tiers: Tiers = TIERS,
    idempotency_key: str | None = None,
    **fields: Any,
) -> FineTuningJob:
    """A job by the customer's own verb, of a file of its own unless told otherwise."""
    if "training_file" not in fields:
        fields["training_file"] = dataset(tx, principal)
    new = NewFineTuning(**{"model": MODEL} | fields)
    return service.create(tx, principal, new, tiers=tiers, registry=REGISTRY, idempotency_key=idempotency_key)


def an_enterprise(database: Database) -> Principal:
    with database.transaction() as tx:
        return make_principal(tx, tier="enterprise")


def at_its_files(tx: Session, principal: Principal) -> FineTuningLease:
    """Its files are being read."""
    job = create(tx, principal)
    (claimed,) = jobs.claim(tx, limit=1)
    lease = progress.begin(tx, job_id=claimed.id, attempt=1, flow_run_id="run-files")
    assert lease is not None
    assert lease.fine_tuning_id == job.id
    return lease


def queued(tx: Session, principal: Principal) -> str:
    """Its files are fit, it waits for a GPU. The job's id."""
    lease = at_its_files(tx, principal)
    progress.validated(
        tx,
        lease,
        hyperparameters={"n_epochs": 3},
        lora={"r": 16},
        estimate={"duration_seconds": 100.0, "cost_micros": PRICE_MICROS},
        total_steps=30,
        report=None,
    )
    tx.flush()
    return lease.fine_tuning_id


def begun(tx: Session, principal: Principal) -> FineTuningLease:
    """Somebody has its lease, and no trainer yet."""
    return begin_again(tx, queued(tx, principal))


def begin_again(tx: Session, job_id: str) -> FineTuningLease:
    """The next attempt at a queued job."""
    (claimed,) = jobs.claim_these(tx, [queue_of(tx, job_id).id])
    lease = progress.begin(tx, job_id=claimed.id, attempt=claimed.attempt, flow_run_id="run-train")
    assert lease is not None
    return lease


def running(tx: Session, principal: Principal) -> FineTuningLease:
    """A trainer is at work."""
    lease = begun(tx, principal)
    progress.started(tx, lease, step=0, total_steps=30)
    return lease


def queue_of(tx: Session, job_id: str, kind: JobKind = JobKind.FINE_TUNE) -> Job:
    return tx.exec(select(Job).where(Job.resource_id == job_id, Job.kind == kind)).one()


def look(tx: Session, lease: FineTuningLease) -> FineTuningJob:
    return tx.get_one(FineTuningJob, lease.fine_tuning_id, populate_existing=True)


def messages(tx: Session, job_id: str) -> list[str]:
    """Everything that a job has said, in the order of its pages read backwards."""
    order = (FineTuningEvent.created_at, FineTuningEvent.id)
    return list(
        tx.exec(select(FineTuningEvent.message).where(FineTuningEvent.job_id == job_id).order_by(*order))
    )


def stored(step: int, *, tokens: int | None = None) -> StoredCheckpoint:
    """A checkpoint after `step` steps, of 1,000 tokens each."""
    digest = f"{step:064x}"
    return StoredCheckpoint(
        step=step,
        trained_tokens=1_000 * step if tokens is None else tokens,
        files=StoredAdapter(digest, f"org/adapters/{digest}/", 100, 16, ("q_proj",)),
        card={"step": step},
        state_key=f"state-{step}",
        metrics={"step": step},
    )


def metrics(step: int, **values: Any) -> StepMetrics:
    given = {
        "epoch": 0.5,
        "train_loss": 1.0 / step,
        "train_mean_token_accuracy": 0.5,
        "learning_rate": 0.001,
        "grad_norm": 1.0,
        "trained_tokens": 1_000 * step,
    }
    return StepMetrics(step=step, **given | values)


def a_result(name: str = "metrics.csv") -> ResultFile:
    return ResultFile(key=f"results/{name}", stored=Stored(size=10, sha256="0" * 64), keep_days=7)
