"""The models that a file's lines name: base models of the yard, and adapters that its organization may see.

Only names that the file holds are looked up: an organization may have thousands of adapters.
"""

from collections.abc import Iterable

from sqlmodel import Session

from orchestrator.adapters.catalog import ServedModel, resolve
from orchestrator.batches.standing import summary_of
from orchestrator.files.model import File
from orchestrator.models.registry import Registry


def named_in(tx: Session, registry: Registry, file: File) -> dict[str, ServedModel]:
    """What each name in the file stands for. One that is unknown, or another organization's, is missing."""
    return resolve(tx, registry, summary_of(file).models, organization_id=file.organization_id)


def admitted(
    tx: Session, registry: Registry, names: Iterable[str], *, organization_id: str
) -> dict[str, ServedModel]:
    """What the models of a validated batch stand for: an adapter deleted since then goes on for it."""
    return resolve(tx, registry, names, organization_id=organization_id, deleted_too=True)
