"""Adapters as models: published once, seen by their organization, shared by the operator, deleted.

An adapter that is deleted or another organization's is not there: both are the NotFound of a model that
never was.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from orchestrator import clock
from orchestrator.adapters.model import CHANNEL, Adapter, Origin
from orchestrator.adapters.names import checkpoint_name, model_name
from orchestrator.adapters.store import StoredAdapter
from orchestrator.database.session import notify
from orchestrator.errors import NotEntitled, NotFound
from orchestrator.organizations.model import Organization

LISTED_MAX = 1_000  # the newest; older ones are found by their ids


def publish(
    tx: Session,
    *,
    organization: Organization,
    project_id: str,
    base_model: str,
    origin: Origin,
    source_id: str,
    name: str | None,
    suffix: str | None,
    files: StoredAdapter,
    card: dict[str, Any],
    step: int | None = None,
) -> Adapter:
    """Make stored files a model that its organization can name; with `step`, a checkpoint on the way to
    one. Doing it again gives the adapter that is there: its first bytes stay."""
    model = model_name(base_model, organization.name, suffix, source_id)
    adapter_id = model if step is None else checkpoint_name(model, step)
    published = tx.get(Adapter, adapter_id)
    if published is not None and published.source_id == source_id:
        return published
    adapter = Adapter(
        id=adapter_id,
        organization_id=organization.id,
        project_id=project_id,
        base_model=base_model,
        origin=origin,
        source_id=source_id,
        name=name,
        digest=files.digest,
        key_prefix=files.key_prefix,
        bytes=files.bytes,
        rank=files.rank,
        target_modules=list(files.target_modules),
        card=card,
        created_at=clock.now(),
    )
    tx.add(adapter)
    tx.flush()
    notify(tx, CHANNEL)
    return adapter


def visible(tx: Session, *, organization_id: str, adapter_id: str) -> Adapter:
    """The adapter, if it is the organization's own or shared, and not deleted. Raises NotFound."""
    adapter = tx.exec(select(Adapter).where(Adapter.id == adapter_id, is_seen_by(organization_id))).first()
    if adapter is None:
        raise unknown(adapter_id)
    return adapter


def own(tx: Session, *, organization_id: str, adapter_id: str) -> Adapter:
    """The adapter, for what only its own organization may do with it. Raises NotFound, NotEntitled for one
    that another organization shares."""
    adapter = visible(tx, organization_id=organization_id, adapter_id=adapter_id)
    if adapter.organization_id != organization_id:
        raise NotEntitled(
            f"The model '{adapter_id}' is shared with you by the operator of this yard; only the "
            "organization that made it can download or delete it.",
            code="not_owner",
            param="model",
        )
    return adapter


def list_visible(tx: Session, *, organization_id: str) -> Sequence[Adapter]:
    """The organization's own adapters and the shared ones, newest first, at most LISTED_MAX."""
    return tx.exec(_newest_first(is_seen_by(organization_id))).all()


def list_imported(tx: Session, *, organization_id: str) -> Sequence[Adapter]:
    """The adapters that the organization has brought, newest first, at most LISTED_MAX."""
    return tx.exec(_newest_first(*_imported(organization_id))).all()


def imported(tx: Session, *, organization_id: str, import_id: str) -> Adapter:
    """The adapter that came with one import. Raises NotFound."""
    found = tx.exec(
        select(Adapter).where(Adapter.source_id == import_id, *_imported(organization_id))
    ).first()
    if found is None:
        raise NotFound(f"No such fine-tuning: {import_id}", param="id")
    return found


def delete(tx: Session, *, organization_id: str, adapter_id: str) -> Adapter:
    """Take an adapter out of listings and engines. Batches that name it already go on to their end.

    Raises NotFound, NotEntitled for one that another organization shares.
    """
    adapter = own(tx, organization_id=organization_id, adapter_id=adapter_id)
    tx.refresh(adapter, with_for_update=True)
    adapter.deleted_at = adapter.deleted_at or clock.now()
    tx.add(adapter)
    tx.flush()
    notify(tx, CHANNEL)
    return adapter


def share(tx: Session, *, adapter_id: str, shared: bool) -> Adapter:
    """Let every organization use an adapter, or its own alone again; for the operator. Batches that name
    it already go on. Raises NotFound."""
    adapter = tx.get(Adapter, adapter_id, with_for_update=True)
    if adapter is None or adapter.deleted_at is not None:
        raise unknown(adapter_id)
    adapter.shared = shared
    tx.add(adapter)
    tx.flush()
    return adapter


def is_seen_by(organization_id: str, *, deleted_too: bool = False) -> ColumnElement[bool]:
    """The condition on adapters that an organization may name."""
    theirs = or_(col(Adapter.organization_id) == organization_id, col(Adapter.shared))
    return theirs if deleted_too else theirs & col(Adapter.deleted_at).is_(None)


def unknown(model: str) -> NotFound:
    """OpenAI's words for a model that is not there, or not for the caller."""
    return NotFound(
        f"The model '{model}' does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    )


def _imported(organization_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        col(Adapter.organization_id) == organization_id,
        col(Adapter.origin) == Origin.IMPORTED,
        col(Adapter.deleted_at).is_(None),
    )


def _newest_first(*where: ColumnElement[bool]) -> SelectOfScalar[Adapter]:
    order = (col(Adapter.created_at).desc(), col(Adapter.id).desc())
    return select(Adapter).where(*where).order_by(*order).limit(LISTED_MAX)
