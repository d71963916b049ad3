"""The success of a fine-tuning job: model, result file, charge and status in one transaction."""

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session

from orchestrator.adapters import service as adapters
from orchestrator.adapters.model import Origin
from orchestrator.adapters.store import StoredAdapter
from orchestrator.fine_tuning import checkpoints, endings, events, results
from orchestrator.fine_tuning.model import FineTuningJob
from orchestrator.fine_tuning.progress import FineTuningLease, held
from orchestrator.fine_tuning.results import ResultFile
from orchestrator.fine_tuning.states import FineTuningTrigger
from orchestrator.jobs import service as jobs
from orchestrator.organizations.model import Organization


def succeed(
    tx: Session, lease: FineTuningLease, *, card: Mapping[str, Any], metrics: ResultFile
) -> FineTuningJob:
    """Make the last checkpoint, which is adopted, the job's model, charge its tokens, and end the job: even
    one that was asked to stop meanwhile, since all of it is done. Raises LeaseLost."""
    job = held(tx, lease)
    last = checkpoints.restart(tx, job.id)
    if last is None:
        raise RuntimeError(f"fine-tuning job {job.id} has no checkpoint to succeed with")
    model = adapters.publish(
        tx,
        organization=tx.get_one(Organization, job.organization_id),
        project_id=job.project_id,
        base_model=job.base_model,
        origin=Origin.TRAINED,
        source_id=job.id,
        name=job.suffix,
        suffix=job.suffix,
        files=StoredAdapter(
            digest=last.adapter.digest,
            key_prefix=last.adapter.key_prefix,
            bytes=last.adapter.bytes,
            rank=last.adapter.rank,
            target_modules=tuple(last.adapter.target_modules),
        ),
        card=dict(card),
    )
    job.step = last.step
    job.fine_tuned_model = model.id
    job.result_file_id = results.add(tx, job, metrics, "metrics.csv")
    endings.charge(tx, job)
    endings.end(tx, job, FineTuningTrigger.TRAINED, actor="system")
    events.say(tx, job, f"New fine-tuned model created: {model.id}")
    events.say(tx, job, "The job has successfully completed")
    jobs.complete(tx, job_id=lease.job_id, token=lease.token)
    return job
