"""Every end of a batch or a fine-tuning job, and every spend to be told of, is announced with it, once."""

import json
from typing import Any

import pytest
from sqlmodel import Session, select

from orchestrator.batches import finalize, progress
from orchestrator.batches.model import Batch
from orchestrator.batches.progress import Stop
from orchestrator.batches.service import request_cancel
from orchestrator.database.session import Database
from orchestrator.fine_tuning import finalize as fine_tuning_finalize
from orchestrator.fine_tuning import progress as fine_tuning
from orchestrator.fine_tuning import service as fine_tuning_service
from orchestrator.jobs.retry import FailureReason
from orchestrator.organizations.model import Project
from orchestrator.spending import alerts, caps
from orchestrator.webhooks.events import body_of
from orchestrator.webhooks.model import WebhookEvent
from tests.factories import make_endpoint, make_file, make_principal
from tests.orchestrator.batches.test_progress import begun, result, running
from tests.orchestrator.fine_tuning import jobs_at
from tests.orchestrator.spending.test_holds import DOLLAR, charge, work
from tests.orchestrator.webhooks.conftest import MakeEndpoint


def told(tx: Session) -> list[dict[str, Any]]:
    """The bodies of all events, in the order of their types."""
    tx.flush()
    events = tx.exec(select(WebhookEvent).order_by(WebhookEvent.type)).all()
    return [json.loads(body_of(event)) for event in events]


@pytest.mark.parametrize(
    ("end", "type"),
    [
        ("merged", "batch.completed"),
        ("cancelled", "batch.cancelled"),
        ("cancelled at its files", "batch.cancelled"),
        ("stopped by a limit", "batch.cancelled"),
        ("late", "batch.expired"),
        ("without an engine", "batch.failed"),
        ("refused", "batch.failed"),
        ("given up", "batch.failed"),
    ],
)
def test_every_end_of_a_batch_is_told(
    database: Database, project: Project, endpoint: MakeEndpoint, end: str, type: str
) -> None:
    endpoint()
    with database.transaction() as tx:
        start = begun if end in ("refused", "cancelled at its files") else running
        lease = start(tx, file=make_file(tx, project=project))
        batch = tx.get_one(Batch, lease.batch_id)
        if end.startswith("cancelled"):
            request_cancel(tx, batch, actor="key_1")
        assert told(tx) == []
        match end:
            case "refused" | "cancelled at its files":
                progress.rejected(tx, lease, errors=[{"code": "invalid_json_line"}], report=None)
            case "given up":
                progress.give_up(tx, batch.id, reason=FailureReason.WORKER_LOST)
                progress.give_up(tx, batch.id, reason=FailureReason.WORKER_LOST)
            case _:
                stops = {
                    "cancelled": Stop.CANCELLED,
                    "stopped by a limit": Stop.SPEND_LIMIT,
                    "late": Stop.WINDOW_CLOSED,
                    "without an engine": Stop.ENGINE_FAILED,
                }
                finalize.driven(tx, lease) if end == "merged" else None
                output = result("output", 3)
                finalize.finish(tx, lease, stop=stops.get(end), words="why", output=output, error=None)
        (event,) = told(tx)
        assert (event["object"], event["type"], event["data"]) == ("event", type, {"id": batch.id})
        assert event["id"].startswith("evt_")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("succeeded", "succeeded"),
        ("cancelled at once", "cancelled"),
        ("cancelled while it trains", "cancelled"),
        ("refused", "failed"),
        ("diverged", "failed"),
    ],
)
def test_every_end_of_a_fine_tuning_job_is_told(database: Database, end: str, status: str) -> None:
    with database.transaction() as tx:
        principal = make_principal(tx, tier="enterprise")
        make_endpoint(tx, project=tx.get_one(Project, principal.project_id))
        start = jobs_at.at_its_files if end in ("refused", "cancelled at once") else jobs_at.running
        lease = start(tx, principal)
        if end.startswith("cancelled"):
            fine_tuning_service.cancel(tx, principal, lease.fine_tuning_id)
        match end:
            case "succeeded":
                fine_tuning.adopt_checkpoint(tx, lease, jobs_at.stored(2))
                fine_tuning_finalize.succeed(tx, lease, card={}, metrics=jobs_at.a_result())
            case "cancelled while it trains":
                assert told(tx) == []
                fine_tuning.stopped(tx, lease)
            case "refused":
                fine_tuning.rejected(tx, lease, code="bad", message="No.", param=None, report=None)
            case "diverged":
                fine_tuning.cannot_go_on(tx, lease, code="diverged", message="The loss is not a number.")
        (event,) = told(tx)
        assert event["type"] == f"fine_tuning.job.{status}"
        assert event["data"] == {"id": lease.fine_tuning_id}


def test_a_job_that_only_pauses_is_not_told_of(database: Database) -> None:
    with database.transaction() as tx:
        principal = make_principal(tx, tier="enterprise")
        make_endpoint(tx, project=tx.get_one(Project, principal.project_id))
        lease = jobs_at.running(tx, principal)
        fine_tuning_service.pause(tx, principal, lease.fine_tuning_id)
        fine_tuning.stopped(tx, lease)
        assert told(tx) == []


def test_an_alert_and_a_limit_are_told_of_once_with_their_figures(
    database: Database, project: Project, endpoint: MakeEndpoint
) -> None:
    endpoint()
    own = project.organization_id
    with database.transaction() as tx:
        alert = alerts.create(
            tx, organization_id=own, threshold_micros=DOLLAR, recipients=["a@b.test"], actor="key_1"
        )
        caps.set_cap(tx, organization_id=own, cap_micros=2 * DOLLAR, running=[], actor="key_1")
        charge(tx, work(project, "a"), DOLLAR)
        (event,) = told(tx)
        assert event["type"] == "spend.alert.triggered"
        figures = {"project_id": None, "currency": "USD", "threshold_micros": DOLLAR, "spent_micros": DOLLAR}
        assert event["data"].items() >= (figures | {"id": alert.id, "recipients": ["a@b.test"]}).items()
        for name in ("b", "c"):
            charge(tx, work(project, name), DOLLAR)
            alerts.fire(tx, organization_id=own, project_id=project.id)
        _, limit = told(tx)
        assert (limit["type"], limit["data"]["id"]) == ("spend.limit.reached", own)
        assert limit["data"]["threshold_micros"] == limit["data"]["spent_micros"] == 2 * DOLLAR
        caps.set_cap(tx, organization_id=own, cap_micros=3 * DOLLAR, running=[], actor="key_1")
        charge(tx, work(project, "d"), DOLLAR)
        assert [event["type"] for event in told(tx)].count("spend.limit.reached") == 2
