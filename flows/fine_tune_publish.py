"""The last step of a fine-tuning job: its metrics become a file, its last checkpoint a model."""

from functools import partial

from sqlmodel import Session

from flows.fine_tune_card import card
from flows.fine_tune_run import FineTuneRun
from orchestrator.fine_tuning import checkpoints, finalize, results
from orchestrator.fine_tuning.results import ResultFile
from orchestrator.storage import keys


async def publish(run: FineTuneRun) -> None:
    """Store the CSV, then model, charge and final status in one transaction. Raises LeaseLost."""
    job = run.job
    key = keys.fine_tuning_result(job.organization_id, job.id, "metrics.csv")
    lines = await run.read(lambda tx: "".join(results.metrics_csv(tx, job.id)))
    stored = await run.here.store.put(key, lines.encode(), content_type="text/csv")
    metrics = ResultFile(key=key, stored=stored, keep_days=run.tier.retention_days)
    await run.write(partial(_succeed, run, metrics))


def _succeed(run: FineTuneRun, metrics: ResultFile, tx: Session) -> None:
    last = checkpoints.newest_first(tx, run.job.id)[0]
    made = card(run, step=last.step, trained_tokens=last.trained_tokens, metrics=last.metrics)
    finalize.succeed(tx, run.lease, card=made, metrics=metrics)
