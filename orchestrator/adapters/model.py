"""An Adapter: the LoRA weights behind one `ft:…` model. Immutable; a new one gets a new name."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import big, choice, document, moment

CHANNEL: Final = "adapters"  # notified when one is published, deleted, or first wanted by a batch

# The two files that make an adapter, as PEFT and engines name them.
WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"


class Origin(StrEnum):
    TRAINED = "trained"  # the result of a fine-tuning job
    CHECKPOINT = "checkpoint"  # of a fine-tuning job on its way
    IMPORTED = "imported"  # brought by its customer


class Adapter(SQLModel, table=True):
    """`id` is the model's name, `ft:<base>:<organization>:<suffix>:<unique>`, for a checkpoint with
    `:ckpt-step-N` behind it. `digest` is the SHA-256 of the two files together. They are under `key_prefix`,
    which a training's model shares with the checkpoint that it was. `card` says how it was made. A deleted
    adapter keeps its row and its bytes while a live batch names it; `removed_at` is when the bytes went."""

    __tablename__ = "adapter"
    __table_args__ = (Index("ix_adapter_list", "organization_id", "created_at", "id"),)

    id: str = Field(primary_key=True, max_length=256)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    project_id: str = Field(foreign_key="project.id", max_length=64)
    base_model: str = Field(max_length=256)
    origin: Origin = choice(Origin)
    source_id: str = Field(index=True, max_length=64)  # the fine-tuning job or the import
    name: str | None = Field(default=None, max_length=64)  # what its customer called it
    digest: str = Field(max_length=64)
    key_prefix: str = Field(max_length=256)
    bytes: int = big()
    rank: int
    target_modules: list[str] = document()
    card: dict[str, Any] = document()
    shared: bool = False  # by the operator, with every organization
    created_at: datetime = moment(nullable=False)
    deleted_at: datetime | None = moment()
    removed_at: datetime | None = moment()
