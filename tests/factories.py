"""Rows with sensible defaults. Name in a test only what the test is about."""

import hashlib
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlmodel import Session, SQLModel

from orchestrator import clock, ids
from orchestrator.adapters.model import Adapter, Origin
from orchestrator.batches.model import Batch
from orchestrator.database.session import Database
from orchestrator.engines.model import Engine
from orchestrator.files.model import File, Purpose
from orchestrator.fine_tuning.model import FineTuningJob, Method
from orchestrator.jobs.model import Job, JobKind
from orchestrator.organizations.model import Organization, Project, Role
from orchestrator.organizations.principal import Principal
from orchestrator.storage import keys
from orchestrator.uploads.model import Upload
from orchestrator.webhooks import signing
from orchestrator.webhooks.event_types import SUBSCRIBABLE, EventType
from orchestrator.webhooks.events import announce
from orchestrator.webhooks.model import WebhookEndpoint

Row = TypeVar("Row", bound=SQLModel)


def make_organization(
    tx: Session, *, name: str = "Acme", tier: str = "developer", **columns: Any
) -> Organization:
    """An organization without a project."""
    values = {"id": ids.new("org_"), "name": name, "tier": tier, "created_at": clock.now()}
    return _add(tx, Organization(**values | columns))


def make_project(tx: Session, *, organization: Organization | None = None, **columns: Any) -> Project:
    """A project, of a new organization unless told otherwise."""
    organization = organization or make_organization(tx)
    values = {
        "id": ids.new("proj_"),
        "organization_id": organization.id,
        "name": "default",
        "created_at": clock.now(),
    }
    return _add(tx, Project(**values | columns))


def make_principal(tx: Session, *, tier: str = "developer", role: Role = Role.OWNER) -> Principal:
    """A bearer of a key in a project of a new organization. The key itself has no row."""
    organization = make_organization(tx, tier=tier)
    project = make_project(tx, organization=organization)
    return Principal(
        organization_id=organization.id,
        project_id=project.id,
        key_id=ids.new("key_"),
        tier=tier,
        role=role,
    )


def make_file(tx: Session, *, project: Project | None = None, **columns: Any) -> File:
    """A batch input file's row. Its bytes are in no store."""
    project = project or make_project(tx)
    file_id = ids.new("file-")
    values = {
        "id": file_id,
        "organization_id": project.organization_id,
        "project_id": project.id,
        "filename": "input.jsonl",
        "purpose": Purpose.BATCH,
        "bytes": 120,
        "sha256": "0" * 64,
        "key": keys.file_content(project.organization_id, file_id),
        "created_at": clock.now(),
    }
    return _add(tx, File(**values | columns))


def make_upload(tx: Session, *, project: Project | None = None, **columns: Any) -> Upload:
    """A pending upload that expires in an hour."""
    project = project or make_project(tx)
    values = {
        "id": ids.new("upload_"),
        "organization_id": project.organization_id,
        "project_id": project.id,
        "filename": "input.jsonl",
        "purpose": Purpose.BATCH,
        "mime_type": "application/jsonl",
        "bytes": 120,
        "created_at": clock.now(),
        "expires_at": clock.now() + timedelta(hours=1),
    }
    return _add(tx, Upload(**values | columns))


def make_batch(tx: Session, *, file: File | None = None, **columns: Any) -> Batch:
    """A batch that was just created, of a new file unless told otherwise, due in a day."""
    file = file or make_file(tx)
    values = {
        "id": ids.new("batch_"),
        "organization_id": file.organization_id,
        "project_id": file.project_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "input_file_id": file.id,
        "tier": "developer",
        "created_at": clock.now(),
        "expires_at": clock.now() + timedelta(hours=24),
    }
    return _add(tx, Batch(**values | columns))


def make_fine_tuning(tx: Session, *, file: File | None = None, **columns: Any) -> FineTuningJob:
    """A fine-tuning job that was just created, of a new file unless told otherwise, at one dollar for a
    million tokens. It is in no queue."""
    file = file or make_file(tx, purpose=Purpose.FINE_TUNE)
    values = {
        "id": ids.new("ftjob-"),
        "organization_id": file.organization_id,
        "project_id": file.project_id,
        "base_model": "yard-smoke",
        "training_file_id": file.id,
        "method": Method.SUPERVISED,
        "requested": {},
        "seed": 7,
        "tier": "enterprise",
        "price_micros": 1_000_000,
        "created_at": clock.now(),
    }
    return _add(tx, FineTuningJob(**values | columns))


def make_adapter(tx: Session, *, project: Project | None = None, **columns: Any) -> Adapter:
    """An adapter that was brought. Its bytes are in no store."""
    project = project or make_project(tx)
    unique = ids.new("ft_")
    digest = hashlib.sha256(unique.encode()).hexdigest()
    values = {
        "id": f"ft:yard-smoke:acme::{unique[-8:]}",
        "organization_id": project.organization_id,
        "project_id": project.id,
        "base_model": "yard-smoke",
        "origin": Origin.IMPORTED,
        "source_id": unique,
        "digest": digest,
        "key_prefix": keys.adapter_prefix(project.organization_id, digest, unique),
        "bytes": 120,
        "rank": 8,
        "target_modules": ["q_proj"],
        "card": {},
        "created_at": clock.now(),
    }
    return _add(tx, Adapter(**values | columns))


def make_engine(tx: Session, *, model: str = "yard-smoke", **columns: Any) -> Engine:
    """An engine that was just requested. Pass `status` and `url` for one that answers."""
    values = {
        "id": ids.new("eng_"),
        "model": model,
        "capacity": 8,
        "gpus": 1,
        **{name: clock.now() for name in _moments_required(Engine)},
    }
    return _add(tx, Engine(**values | columns))


def make_job(tx: Session, *, organization: Organization | None = None, **columns: Any) -> Job:
    """A job that is due now, without a resource behind its id."""
    organization = organization or make_organization(tx)
    values = {
        "id": ids.new("job_"),
        "kind": JobKind.BATCH,
        "resource_id": ids.new("batch_"),
        "organization_id": organization.id,
        "priority": 100,
        "deadline": clock.now() + timedelta(hours=24),
        "not_before": clock.now(),
        "created_at": clock.now(),
    }
    return _add(tx, Job(**values | columns))


def make_endpoint(tx: Session, *, project: Project | None = None, **columns: Any) -> WebhookEndpoint:
    """A webhook endpoint that wants to hear of everything. Nobody listens there."""
    project = project or make_project(tx)
    values = {
        "id": ids.new("wh_"),
        "organization_id": project.organization_id,
        "project_id": project.id,
        "url": "https://hooks.example.com/yard",
        "name": "hook",
        "event_types": list(SUBSCRIBABLE),
        "secret": signing.new_secret(),
        "created_at": clock.now(),
        "updated_at": clock.now(),
    }
    return _add(tx, WebhookEndpoint(**values | columns))


def complete_batches(database: Database, project: Project, *names: str) -> None:
    """Announce to webhooks that the batches of these ids have been completed."""
    with database.transaction() as tx:
        for name in names:
            announce(
                tx,
                organization_id=project.organization_id,
                project_id=project.id,
                type=EventType.BATCH_COMPLETED,
                resource_id=name,
            )


def _add(tx: Session, row: Row) -> Row:
    tx.add(row)
    tx.flush()
    return row


def _moments_required(table: type[SQLModel]) -> list[str]:
    fields = table.model_fields.items()
    return [name for name, field in fields if field.annotation is datetime]
