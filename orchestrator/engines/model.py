"""An Engine: one life of one vLLM server, from the decision to start it to its end.

A restart is a new row, so `eng_…` names one process and its failures can be counted.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from orchestrator.database.columns import choice, moment
from orchestrator.state_machine import StateMachine


class EngineStatus(StrEnum):
    REQUESTED = "requested"  # decided; its flow run waits for a GPU slot
    STARTING = "starting"  # the server process is loading the model
    READY = "ready"  # answers requests
    DRAINING = "draining"  # no new lines; ends when what it has is done
    STOPPED = "stopped"  # ended on purpose
    FAILED = "failed"  # could not start, or died; `last_words` says why


class EngineTrigger(StrEnum):
    STARTED = "started"
    ANSWERED = "answered"
    DRAIN = "drain"
    ENDED = "ended"
    DIED = "died"


_S, _T = EngineStatus, EngineTrigger

ENGINE: StateMachine[EngineStatus, EngineTrigger] = StateMachine(
    name="engine",
    initial=_S.REQUESTED,
    edges={
        (_S.REQUESTED, _T.STARTED): _S.STARTING,
        (_S.REQUESTED, _T.DRAIN): _S.STOPPED,
        (_S.REQUESTED, _T.DIED): _S.FAILED,
        (_S.STARTING, _T.ANSWERED): _S.READY,
        (_S.STARTING, _T.DRAIN): _S.DRAINING,
        (_S.STARTING, _T.DIED): _S.FAILED,
        (_S.READY, _T.DRAIN): _S.DRAINING,
        (_S.READY, _T.DIED): _S.FAILED,
        (_S.READY, _T.ENDED): _S.STOPPED,
        (_S.DRAINING, _T.ENDED): _S.STOPPED,
        (_S.DRAINING, _T.DIED): _S.FAILED,
    },
)

LIVE = (_S.REQUESTED, _S.STARTING, _S.READY, _S.DRAINING)


class Engine(SQLModel, table=True):
    """`capacity` is how many lines it takes at once. `heartbeat_at` is written by the flow that watches
    it; an engine whose heartbeat is old is dead whatever its status says. `needed_at` is when a batch last
    wanted its model. `lora`: it takes adapters, which costs speed even where no line names one. `remote`
    engines are somebody else's servers by URL: watched, never started."""

    __tablename__ = "engine"
    __table_args__ = (
        Index(
            "ix_engine_live",
            "model",
            postgresql_where=text("status IN ('requested', 'starting', 'ready', 'draining')"),
        ),
    )

    id: str = Field(primary_key=True, max_length=64)
    model: str = Field(max_length=256)
    remote: bool = False
    lora: bool = False
    status: EngineStatus = choice(EngineStatus, default=EngineStatus.REQUESTED)
    url: str | None = Field(default=None, max_length=512)
    api_key: str | None = Field(default=None, max_length=128)
    capacity: int
    gpus: int
    flow_run_id: str | None = Field(default=None, max_length=64)
    heartbeat_at: datetime = moment(nullable=False)
    needed_at: datetime = moment(nullable=False)
    created_at: datetime = moment(nullable=False)
    starting_at: datetime | None = moment()
    ready_at: datetime | None = moment()
    draining_at: datetime | None = moment()
    stopped_at: datetime | None = moment()
    failed_at: datetime | None = moment()
    last_words: str | None = None


class BatchDemand(SQLModel, table=True):
    """How many more lines one running batch has for one model; what engines are started and shared by.
    `model` is a base model or an adapter, `base` the model whose engines serve it. Written by the batch's
    driver with each heartbeat, gone when the batch ends."""

    __tablename__ = "batch_demand"

    batch_id: str = Field(primary_key=True, foreign_key="batch.id", max_length=64)
    model: str = Field(primary_key=True, max_length=256)
    organization_id: str = Field(foreign_key="organization.id", max_length=64)
    base: str = Field(index=True, max_length=256)
    lines: int
    weight: float
    priority: int
    since: datetime = moment(nullable=False)
    heartbeat_at: datetime = moment(nullable=False)


class SandboxDemand(SQLModel, table=True):
    """A synchronous request has lately asked for a model: keep or start an engine for it, and its adapter
    there. Written by the API, stale after SANDBOX_FRESH_SECONDS."""

    __tablename__ = "sandbox_demand"

    organization_id: str = Field(primary_key=True, foreign_key="organization.id", max_length=64)
    model: str = Field(primary_key=True, max_length=256)
    base: str = Field(index=True, max_length=256)
    priority: int
    since: datetime = moment(nullable=False)
    asked_at: datetime = moment(nullable=False)


class Reservation(SQLModel, table=True):
    """Capacity that is an organization's whenever it has work, and everybody's while it has none: so many
    engines of the base model kept ready for it, or a share (0 to 1] of the places of all its engines."""

    __tablename__ = "reservation"
    __table_args__ = (CheckConstraint("engines > 0 OR share > 0", name="ck_reservation_is_something"),)

    organization_id: str = Field(primary_key=True, foreign_key="organization.id", max_length=64)
    model: str = Field(primary_key=True, max_length=256)
    engines: int = 0
    share: float = 0.0
    created_at: datetime = moment(nullable=False)


class EngineAdapter(SQLModel, table=True):
    """An adapter on one engine: wanted there until `loaded_at`, then usable by its name. `failure` says why
    the engine would not take it. Written by the flow that watches the engine, gone with it."""

    __tablename__ = "engine_adapter"

    engine_id: str = Field(primary_key=True, foreign_key="engine.id", max_length=64)
    adapter_id: str = Field(primary_key=True, foreign_key="adapter.id", max_length=256)
    wanted_at: datetime = moment(nullable=False)
    loaded_at: datetime | None = moment()
    failure: str | None = None
